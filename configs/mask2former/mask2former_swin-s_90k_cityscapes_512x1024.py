"""Mask2Former on Swin-S, Cityscapes, the authors' setting; published mIoU 82.6."""

_base_ = [
    "../_base_/models/mask2former_swin_t.py",
    "../_base_/datasets/cityscapes_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
model = dict(backbone=dict(name="swin_small_patch4_window7_224.ms_in1k"))
loop = dict(steps=90000)
