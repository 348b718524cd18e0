"""Mask2Former on Swin-T, Cityscapes, the authors' setting; published mIoU 82.1."""

_base_ = [
    "../_base_/models/mask2former_swin_t.py",
    "../_base_/datasets/cityscapes_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
loop = dict(steps=90000)
