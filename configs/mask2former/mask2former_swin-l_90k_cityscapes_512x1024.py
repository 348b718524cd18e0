"""Mask2Former on Swin-L of ImageNet-21k, Cityscapes, the authors' setting; published mIoU 83.3."""

_base_ = [
    "../_base_/models/mask2former_swin_t.py",
    "../_base_/datasets/cityscapes_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
model = dict(backbone=dict(name="swin_large_patch4_window12_384.ms_in22k"))
loop = dict(steps=90000)
