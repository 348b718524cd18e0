"""Mask2Former on Swin-S, ADE20K, the authors' setting; published mIoU 51.3."""

_base_ = [
    "../_base_/models/mask2former_swin_t.py",
    "../_base_/datasets/ade20k_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
model = dict(backbone=dict(name="swin_small_patch4_window7_224.ms_in1k"))
