"""Mask2Former on Swin-T, ADE20K, the authors' setting; published mIoU 47.7."""

_base_ = [
    "../_base_/models/mask2former_swin_t.py",
    "../_base_/datasets/ade20k_short_sides.py",
    "../_base_/schedules/mask2former_160k.py",
]
