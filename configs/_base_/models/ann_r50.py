"""Asymmetric non-local net on a dilated ResNet-50, output stride 8."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50c", output_stride=8, pretrained=True),
    head=dict(type="ANNHead"),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
