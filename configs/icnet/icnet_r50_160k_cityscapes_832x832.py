"""ICNet on ResNet-50, Cityscapes, mmsegmentation's setting; published mIoU 76.29."""

_base_ = ["../_base_/models/icnet_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_160k.py"]
crop_size = (832, 832)
