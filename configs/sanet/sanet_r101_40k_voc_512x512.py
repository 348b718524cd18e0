"""SANet on ResNet-101, VOC 2012; published mIoU of the test set 83.2."""

_base_ = ["../_base_/models/sanet_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
model = dict(backbone=dict(name="resnet101c"))
