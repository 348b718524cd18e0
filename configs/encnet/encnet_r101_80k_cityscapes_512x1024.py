"""EncNet on ResNet-101, Cityscapes, mmsegmentation's setting."""

_base_ = ["../_base_/models/encnet_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
model = dict(backbone=dict(name="resnet101c"))
