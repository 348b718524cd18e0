"""DINOv3-S with a linear head on its last block; the schedule linear_40k freezes the encoder."""

_base_ = ["dinov2-s_linear.py"]
model = dict(backbone=dict(name="vit_small_patch16_dinov3_qkvb"))
