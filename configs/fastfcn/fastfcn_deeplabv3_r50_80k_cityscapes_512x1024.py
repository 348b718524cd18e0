"""FastFCN with DeepLabv3's head on ResNet-50, Cityscapes, mmsegmentation's setting; published mIoU 79.12."""

_base_ = [
    "../_base_/models/fastfcn_deeplabv3_r50.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_80k.py",
]
