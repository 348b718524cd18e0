"""Semantic FPN on a ResNet-50."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50c", pretrained=True),
    neck=dict(type="FPN"),
    head=dict(type="SemFPNHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
