"""Mask2Former on ResNet-50, Cityscapes, the authors' setting; published mIoU 79.4."""

_base_ = [
    "../_base_/models/mask2former_r50.py",
    "../_base_/datasets/cityscapes_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
loop = dict(steps=90000)
