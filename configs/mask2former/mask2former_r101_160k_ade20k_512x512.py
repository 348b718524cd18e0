"""Mask2Former on ResNet-101, ADE20K, the authors' setting; published mIoU 47.8."""

_base_ = [
    "../_base_/models/mask2former_r50.py",
    "../_base_/datasets/ade20k_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
model = dict(backbone=dict(name="resnet101.tv_in1k"))
