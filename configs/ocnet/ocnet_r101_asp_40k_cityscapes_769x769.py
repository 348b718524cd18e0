"""OCNet with an atrous pyramid on ResNet-101, Cityscapes, crops and steps of the authors' code."""

_base_ = ["../_base_/models/ocnet_r50_asp.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_40k.py"]
crop_size = (769, 769)
model = dict(align_corners=True, backbone=dict(name="resnet101c"))
