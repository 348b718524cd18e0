"""Mask2Former on Swin-L of ImageNet-21k, ADE20K, the authors' setting; published mIoU 56.1."""

_base_ = [
    "../_base_/models/mask2former_swin_t.py",
    "../_base_/datasets/ade20k_short_sides_640.py",
    "../_base_/schedules/mask2former_160k.py",
]
model = dict(backbone=dict(name="swin_large_patch4_window12_384.ms_in22k"))
