"""Hypercolumns of all levels of a U-Net: the concatenation through a convolution."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="UNet"),
    head=dict(type="FCNHead", level=(-1, -2, -3, -4), channels=64),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
