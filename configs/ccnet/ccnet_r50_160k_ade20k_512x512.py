"""CCNet on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 42.08."""

_base_ = ["../_base_/models/ccnet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
