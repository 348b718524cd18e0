"""EoMT on DINOv3-S, at 512 x 512 pixels."""

_base_ = ["eomt_dinov2-l.py"]
model = dict(backbone=dict(name="vit_small_patch16_dinov3_qkvb"))
