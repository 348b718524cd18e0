"""STDC1 with its context path, two auxiliary heads and the detail head."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="STDC"),
    neck=dict(type="STDCContext"),
    head=dict(type="FCNHead", channels=256),
    aux=[
        dict(type="FCNHead", level=-2, channels=64),
        dict(type="FCNHead", level=-3, channels=64),
        dict(type="DetailHead"),
    ],
    align_corners=True,
)
_hard = dict(type="OHEM", threshold=0.7, min_kept=10000, per_image=True, average="all")
_hard["loss"] = dict(type="CrossEntropy", average="all")
losses = [
    dict(_hard, on="logits"),
    dict(_hard, on="aux0.logits"),
    dict(_hard, on="aux1.logits"),
    dict(type="Detail", on="aux2.detail", train_ignored=True),
]
