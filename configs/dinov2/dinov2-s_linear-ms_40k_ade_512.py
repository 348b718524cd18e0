"""Frozen DINOv2-S, a linear head on four blocks, ADE20K, recipe of DINOv3; published with scales and flip: 47.2."""

_base_ = [
    "../_base_/models/dinov2-s_linear.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/linear_40k.py",
]
model = dict(backbone=dict(out_indices=(8, 9, 10, 11)), head=dict(level=(-4, -3, -2, -1)))
