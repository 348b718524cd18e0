"""APCNet on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 43.40."""

_base_ = ["../_base_/models/apcnet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
