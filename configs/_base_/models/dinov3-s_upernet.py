"""UPerNet on DINOv3-S, four blocks behind the final normalization."""

_base_ = ["dinov2-s_upernet.py"]
model = dict(backbone=dict(name="vit_small_patch16_dinov3_qkvb"))
