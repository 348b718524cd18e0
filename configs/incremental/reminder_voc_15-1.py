"""REMINDER, VOC 15-1: PLOP, and distillation of the old classes that resemble the class of a pixel."""

_base_ = "plop_voc_15-5.py"
task = "voc_15-1"
_maps = [
    f"{side}{name}"
    for name in ("logits", *(f"features.{i}" for i in range(4)), "embedding")
    for side in ("", "teacher.")
]
runner = dict(
    losses=[
        dict(type="PseudoLabelCE", published_median=True),
        dict(type="LocalPOD", on=_maps, at="native", leak=0.01),
        dict(type="ClassSimilarityKD", weight=0.5),
    ],
)
