"""Frozen DINOv2-S with a linear head, ADE20K, with the recipe of DINOv3; its authors report mIoU 44.3."""

_base_ = [
    "../_base_/models/dinov2-s_linear.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/linear_40k.py",
]
