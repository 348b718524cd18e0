"""SegNet."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="SegNet"),
    head=dict(type="SegNetHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
