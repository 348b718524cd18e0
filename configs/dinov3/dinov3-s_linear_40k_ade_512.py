"""Frozen DINOv3-S with a linear head, ADE20K, the authors' setting; published mIoU 47.0."""

_base_ = [
    "../_base_/models/dinov3-s_linear.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/linear_40k.py",
]
