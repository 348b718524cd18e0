"""Gated-SCNN on ResNet-101, Cityscapes, with the settings of WideResNet-38; published: val mIoU 74.7 with ResNet-50."""

_base_ = ["../_base_/models/gscnn_r50.py", "gscnn_wrn38_175e_cityscapes_720x720.py"]
