"""Key map of the published checkpoints of BoxLevelSet, in both of its projects."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/LiWentomng/boxlevelset"

RESNET: tuple[Rule, ...] = ((r"^backbone\.(?!encoder\.)", "backbone.encoder."),)
"""Only the prefix differs from timm's ResNets, also for deformable convolutions."""

PYRAMID: tuple[Rule, ...] = (
    (r"^neck\.lateral_convs\.", "neck.laterals."),
    (r"^neck\.fpn_convs\.", "neck.outputs."),
)

SOLO: tuple[Rule, ...] = (
    (r"^bbox_head\.feature_convs\.(\d)\.conv(\d)\.", r"head.masks.paths.\1.\2."),
    (r"^bbox_head\.cate_convs\.", "head.category_tower."),
    (r"^bbox_head\.kernel_convs\.", "head.kernel_tower."),
    (r"^bbox_head\.solo_cate\.", "head.categories."),
    (r"^bbox_head\.solo_kernel\.", "head.kernels."),
    (r"^bbox_head\.solo_mask\.", "head.masks.merge."),
    (r"^bbox_head\.levelset_bottom\.", "head.bottom."),
    (r"^(head\..*)\.gn\.", r"\1.norm."),
)

MAPS = {"boxlevelset": KeyMap("BoxLevelSet", (*RESNET, *PYRAMID, *SOLO), URL)}
