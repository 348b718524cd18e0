"""Semantic FPN on a ResNet-50, in the form of segmentation_models: normalized by groups, no convolution on the sums."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50", pretrained=True),
    neck=dict(type="FPN", output_convs=False),
    head=dict(type="SemFPNHead", groups=32, dropout=0.2),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
