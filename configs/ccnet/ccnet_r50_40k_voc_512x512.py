"""CCNet on ResNet-50, VOC 2012, mmsegmentation's setting; published mIoU 75.96."""

_base_ = ["../_base_/models/ccnet_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
