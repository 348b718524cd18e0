"""Attention U-Net on a ResNet-34 encoder."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet34", pretrained=True),
    head=dict(type="AttentionUNetHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
