"""FastFCN with PSPNet's head on ResNet-50, Cityscapes, mmsegmentation's setting; published mIoU 79.26."""

_base_ = ["../_base_/models/fastfcn_psp_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
