"""Frozen DINOv3-B with a linear head, ADE20K, the authors' setting; published mIoU 51.8."""

_base_ = [
    "../_base_/models/dinov3-s_linear.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/linear_40k.py",
]
model = dict(backbone=dict(name="vit_base_patch16_dinov3_qkvb"))
