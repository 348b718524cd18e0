"""Gated-SCNN on ResNet-101, Cityscapes, with the settings of WideResNet-38."""

_base_ = ["gscnn_wrn38_175e_cityscapes_720x720.py"]
model = dict(
    backbone=dict(type="Timm", name="resnet101", output_stride=8, contract_dilation=False, pretrained=True),
    head=dict(stem_level=-5, low_level=-4, gate_levels=(-3, -2, -1)),
)
