"""Key map of the published checkpoints of BoxInst in the project of Box2Mask."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/LiWentomng/BoxInstSeg"

RULES: tuple[Rule, ...] = (
    (r"^backbone\.(?!encoder\.)", "backbone.encoder."),
    (r"^neck\.lateral_convs\.", "neck.laterals."),
    # three outputs for the backbone's maps, then two coarser ones
    *((rf"^neck\.fpn_convs\.{i + 3}\.", f"neck.extra.{i}.") for i in (0, 1)),
    (r"^neck\.fpn_convs\.", "neck.outputs."),
    (r"^bbox_head\.cls_convs\.", "head.category_tower."),
    (r"^bbox_head\.reg_convs\.", "head.box_tower."),
    (r"^(head\..*)\.gn\.", r"\1.norm."),
    (r"^bbox_head\.conv_cls\.", "head.categories."),
    (r"^bbox_head\.conv_reg\.", "head.distances."),
    (r"^bbox_head\.conv_centerness\.", "head.centerness."),
    (r"^bbox_head\.scales\.(\d)\.scale$", r"head.scales.\1"),
    (r"^mask_branch\.refines\.", "head.masks.refine."),
    (r"^mask_branch\.mask_branch\.", "head.masks.tower."),
    (r"^mask_head\.param_conv\.", "head.controllers."),
    # a constant, and the number of steps, which the loss counts
    (r"^mask_head\.(sizes_of_interest|_iter)$", None),
)

MAPS = {"boxinst": KeyMap("BoxInst", RULES, URL)}
