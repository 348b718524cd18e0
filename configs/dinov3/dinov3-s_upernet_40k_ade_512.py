"""Frozen DINOv3-S with UPerNet, ADE20K. Its authors publish no such network: the recipe of their linear heads, 1e-4."""

_base_ = [
    "../_base_/models/dinov3-s_upernet.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/frozen_40k.py",
]
