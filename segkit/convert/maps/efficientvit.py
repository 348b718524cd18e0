"""Key maps of the EfficientViT authors' code, whose encoders B0 to B3, L1 and L2 are timm's."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/mit-han-lab/efficientvit"

ENCODER: tuple[Rule, ...] = (
    (r"^backbone\.input_stem\.op_list\.0\.", "backbone.encoder.stem_in_conv."),
    *((rf"^backbone\.input_stem\.op_list\.{i + 1}\.", f"backbone.encoder.stem_res{i}.") for i in range(2)),
    (r"^backbone\.stages\.(\d)\.op_list\.", r"backbone.encoder.stages_\1.blocks."),
)

LARGE: tuple[Rule, ...] = (
    (r"^backbone\.stages\.0\.op_list\.0\.", "backbone.encoder.stem_in_conv."),
    (r"^backbone\.stages\.0\.op_list\.1\.", "backbone.encoder.stem_res0."),
    *((rf"^backbone\.stages\.{i + 1}\.op_list\.", f"backbone.encoder.stages_{i}.blocks.") for i in range(4)),
)
"""The encoders L1 and L2, whose stem is the first of five stages."""

HEAD: tuple[Rule, ...] = (
    # Maps that are enlarged stand in a sequence with what enlarges them.
    (r"^head\.input_ops\.(\d)\.(?:op_list\.0\.)?", r"head.inputs.\1."),
    (r"^head\.middle\.op_list\.(\d)\.main\.inverted_conv\.", r"head.blocks.\1.convs.0."),
    (r"^head\.middle\.op_list\.(\d)\.main\.depth_conv\.", r"head.blocks.\1.convs.1."),
    (r"^head\.middle\.op_list\.(\d)\.main\.point_conv\.", r"head.blocks.\1.convs.2."),
)

FUSED: tuple[Rule, ...] = (
    (r"^head\.middle\.op_list\.(\d)\.main\.spatial_conv\.", r"head.blocks.\1.convs.0."),
    (r"^head\.middle\.op_list\.(\d)\.main\.point_conv\.", r"head.blocks.\1.convs.1."),
)
"""Bottlenecks of two convolutions, before those of three."""

WIDENED: tuple[Rule, ...] = (
    (r"^head\.output_ops\.0\.op_list\.0\.", "head.widen."),
    (r"^head\.output_ops\.0\.op_list\.1\.conv\.", "head.classifier."),
)
"""A convolution before the classifier."""

ALONE: tuple[Rule, ...] = ((r"^head\.output_ops\.0\.op_list\.0\.conv\.", "head.classifier."),)
"""The classifier alone."""

NAMES: tuple[Rule, ...] = (
    (r"^(head\.(?:inputs\.\d|blocks\.\d\.convs\.\d|widen))\.conv\.", r"\1.0."),
    (r"^(head\.(?:inputs\.\d|blocks\.\d\.convs\.\d|widen))\.norm\.", r"\1.1."),
)

MAPS = {
    "efficientvit": KeyMap("EfficientViT, Cityscapes", (*ENCODER, *HEAD, *WIDENED, *NAMES), URL),
    "efficientvit_ade20k": KeyMap("EfficientViT, ADE20K", (*ENCODER, *HEAD, *ALONE, *NAMES), URL),
    "efficientvit_large": KeyMap("EfficientViT-L, Cityscapes", (*LARGE, *FUSED, *HEAD, *ALONE, *NAMES), URL),
    "efficientvit_large_ade20k": KeyMap("EfficientViT-L, ADE20K", (*LARGE, *FUSED, *HEAD, *WIDENED, *NAMES), URL),
}
