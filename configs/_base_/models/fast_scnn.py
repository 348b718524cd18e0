"""Fast-SCNN: trained from random weights."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="FastSCNN"),
    head=dict(type="SeparableFCNHead"),
    aux=[dict(type="FCNHead", level=-2, channels=32), dict(type="FCNHead", level=-3, channels=32)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux*.logits", target="mask", average="all", weight=0.4),
]
