"""Frozen DINOv2-L with a linear head, ADE20K, with the recipe of DINOv3; its authors report mIoU 47.7."""

_base_ = [
    "../_base_/models/dinov2-s_linear.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/linear_40k.py",
]
model = dict(backbone=dict(name="vit_large_patch14_dinov2", out_indices=(23,)))
