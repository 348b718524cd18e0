"""DPT on DINOv3-S."""

_base_ = ["dinov2-s_dpt.py"]
model = dict(backbone=dict(name="vit_small_patch16_dinov3_qkvb"))
