"""ISANet on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 42.59."""

_base_ = ["../_base_/models/isanet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
