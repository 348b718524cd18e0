"""Key maps of the EfficientViT authors' code, whose encoders B0 to B3 are timm's."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/mit-han-lab/efficientvit"

ENCODER: tuple[Rule, ...] = (
    (r"^backbone\.input_stem\.op_list\.0\.", "backbone.encoder.stem_in_conv."),
    *((rf"^backbone\.input_stem\.op_list\.{i + 1}\.", f"backbone.encoder.stem_res{i}.") for i in range(2)),
    (r"^backbone\.stages\.(\d)\.op_list\.", r"backbone.encoder.stages_\1.blocks."),
)

HEAD: tuple[Rule, ...] = (
    # Maps that are enlarged stand in a sequence with what enlarges them.
    (r"^head\.input_ops\.(\d)\.(?:op_list\.0\.)?", r"head.inputs.\1."),
    (r"^head\.middle\.op_list\.(\d)\.main\.inverted_conv\.", r"head.blocks.\1.convs.0."),
    (r"^head\.middle\.op_list\.(\d)\.main\.depth_conv\.", r"head.blocks.\1.convs.1."),
    (r"^head\.middle\.op_list\.(\d)\.main\.point_conv\.", r"head.blocks.\1.convs.2."),
)

NAMES: tuple[Rule, ...] = (
    (r"^(head\.(?:inputs\.\d|blocks\.\d\.convs\.\d|widen))\.conv\.", r"\1.0."),
    (r"^(head\.(?:inputs\.\d|blocks\.\d\.convs\.\d|widen))\.norm\.", r"\1.1."),
)

MAPS = {
    # With a convolution before the classifier, and without.
    "efficientvit": KeyMap(
        "EfficientViT, Cityscapes",
        (
            *ENCODER,
            *HEAD,
            (r"^head\.output_ops\.0\.op_list\.0\.", "head.widen."),
            (r"^head\.output_ops\.0\.op_list\.1\.conv\.", "head.classifier."),
            *NAMES,
        ),
        URL,
    ),
    "efficientvit_ade20k": KeyMap(
        "EfficientViT, ADE20K",
        (*ENCODER, *HEAD, (r"^head\.output_ops\.0\.op_list\.0\.conv\.", "head.classifier."), *NAMES),
        URL,
    ),
}
