"""EMANet on ResNet-50, Cityscapes, mmsegmentation's setting; published mIoU 77.59."""

_base_ = ["../_base_/models/emanet_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
