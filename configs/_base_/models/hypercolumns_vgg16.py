"""Hypercolumns of pool2, pool4 and fc7 of VGG-16."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="VGG16", pretrained=True),
    head=dict(type="HypercolumnHead", levels=(-5, -3, -1)),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
