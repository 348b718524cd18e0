"""K-Net with UPerNet on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 43.45."""

_base_ = ["../_base_/models/knet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/knet_80k.py"]
