"""Fast-SCNN: trained from random weights, by a binary cross entropy of each class, as in mmsegmentation."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="FastSCNN"),
    head=dict(type="SeparableFCNHead"),
    aux=[dict(type="FCNHead", level=-2, channels=32), dict(type="FCNHead", level=-3, channels=32)],
)
losses = [
    dict(type="BinaryCrossEntropy", on="logits", target="mask", average="all"),
    dict(type="BinaryCrossEntropy", on="aux*.logits", target="mask", average="all", weight=0.4),
]
