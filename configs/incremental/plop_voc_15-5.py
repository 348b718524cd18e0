"""PLOP, VOC 15-5: pseudo labels of the background, pooled features of all depths distilled."""

_base_ = "finetune_voc_15-5.py"
_maps = [
    f"{side}{name}"
    for name in ("logits", *(f"features.{i}" for i in range(4)), "embedding")
    for side in ("", "teacher.")
]
runner = dict(
    convention="csseg",
    init="balanced",
    losses=[
        dict(type="PseudoLabelCE", published_median=True),
        dict(type="LocalPOD", on=_maps, at="native", leak=0.01),
    ],
)
