"""RefineNet on a ResNet-101, single-scale."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet101", pretrained=True),
    head=dict(type="RefineNetHead"),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
