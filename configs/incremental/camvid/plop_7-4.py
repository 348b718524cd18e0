"""PLOP, CamVid 7-4; the two shallowest maps are frozen and have nothing to distil."""

_base_ = "finetune_7-4.py"
_maps = [
    f"{side}{name}"
    for name in ("logits", *(f"features.{i}" for i in (2, 3, 4)), "embedding")
    for side in ("", "teacher.")
]
runner = dict(
    start="work_dirs/finetune_7-4/step0/last.pt",
    init="balanced",
    losses=[
        dict(type="PseudoLabelCE"),
        dict(type="LocalPOD", on=_maps, at="native"),
    ],
)
