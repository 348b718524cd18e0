"""EoMT on DINOv2-S with registers, at 512 x 512 pixels."""

_base_ = ["eomt_dinov2-l.py"]
model = dict(backbone=dict(name="vit_small_patch14_reg4_dinov2"))
