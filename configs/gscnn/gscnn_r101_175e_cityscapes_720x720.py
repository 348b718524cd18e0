"""Gated-SCNN on ResNet-101, Cityscapes, with the settings of WideResNet-38."""

_base_ = ["gscnn_wrn38_175e_cityscapes_720x720.py", "../_base_/models/gscnn_r50.py"]
model = dict(backbone=dict(name="resnet101"))
