"""MaskFormer on a ResNet-50 whose normalizations keep their statistics."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDetection", name="resnet50.tv_in1k", pretrained=True),
    head=dict(type="MaskFormerHead"),
)
losses = [dict(type="MaskFormerSemantic")]
