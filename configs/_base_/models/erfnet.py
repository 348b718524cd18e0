"""ERFNet."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ERFNet"),
    head=dict(type="FCNHead", channels=128),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
