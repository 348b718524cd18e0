"""EoMT on DINOv3-B, at 512 x 512 pixels."""

_base_ = ["eomt_dinov2-l.py"]
model = dict(backbone=dict(name="vit_base_patch16_dinov3_qkvb"))
