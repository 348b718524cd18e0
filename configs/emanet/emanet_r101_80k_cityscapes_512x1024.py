"""EMANet on ResNet-101, Cityscapes, mmsegmentation's setting."""

_base_ = ["../_base_/models/emanet_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
model = dict(backbone=dict(name="resnet101c"))
