"""Key map of the DenseASPP authors' code, whose layer names "norm.1", "conv.2" torch no longer allows."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://github.com/DeepMotionAIResearch/DenseASPP"

RULES: tuple[Rule, ...] = (
    *((rf"^ASPP_{rate}\.", f"head.row.{i}.") for i, rate in enumerate((3, 6, 12, 18, 24))),
    (r"\.(norm|conv)\.([12])\.", r".\1\2."),
    (r"^features\.transition4\.norm\.", "head.transition.0."),
    (r"^features\.transition4\.conv\.", "head.transition.2."),
    (r"^features\.norm5\.", "head.norm."),
    (r"^features\.", "backbone.encoder.features_"),
    (r"^classification\.1\.", "head.classifier."),
)

MAPS = {
    # Written by a version of torch without batch counters in normalizations.
    "denseaspp": KeyMap("DenseASPP", RULES, URL, score={"Cityscapes val mIoU": 79.9}),
}
