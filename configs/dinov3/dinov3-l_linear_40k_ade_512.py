"""Frozen DINOv3-L with a linear head, ADE20K, the authors' setting; published mIoU 54.9."""

_base_ = [
    "../_base_/models/dinov3-s_linear.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/linear_40k.py",
]
model = dict(backbone=dict(name="vit_large_patch16_dinov3_qkvb", out_indices=(23,)))
