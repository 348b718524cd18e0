"""SANet on ResNet-50, VOC 2012, mmsegmentation's schedule."""

_base_ = ["../_base_/models/sanet_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
