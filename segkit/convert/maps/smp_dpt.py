"""Key map of segmentation_models_pytorch's DPT."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.smp import COMMON, URL

DPT: tuple[Rule, ...] = (
    (r"^encoder\.model\.(norm|head|fc_norm)\.", None),  # stored and never used
    (r"^decoder\.projection_blocks\.(\d)\.project\.", r"neck.readouts.\1."),
    (r"^decoder\.reassemble_blocks\.(\d)\.project_to_out_channel\.", r"neck.projects.\1."),
    (r"^decoder\.reassemble_blocks\.(\d)\.upsample\.", r"neck.resizes.\1."),
    (r"^decoder\.reassemble_blocks\.(\d)\.project_to_feature_dim\.", r"head.convs.\1."),
    (r"^decoder\.fusion_blocks\.(\d)\.project\.", r"head.fusions.\1.project."),
    (r"^decoder\.fusion_blocks\.(\d)\.residual_conv_block1\.", r"head.fusions.\1.skip."),
    (r"^decoder\.fusion_blocks\.(\d)\.residual_conv_block2\.", r"head.fusions.\1.unit."),
    *((rf"^(head\.fusions\..*)\.conv_{i + 1}\.", rf"\1.convs.{i}.conv.") for i in range(2)),
    *((rf"^(head\.fusions\..*)\.batch_norm_{i + 1}\.", rf"\1.convs.{i}.bn.") for i in range(2)),
    (r"^segmentation_head\.head\.0\.", "head.project.conv."),
    (r"^segmentation_head\.head\.1\.", "head.project.bn."),
    (r"^segmentation_head\.head\.4\.", "head.classifier."),
)

MAPS = {"smp_dpt": KeyMap("segmentation_models, DPT", (*DPT, *COMMON), URL)}
