"""EfficientViT-B2 with its segmentation head."""

_base_ = ["efficientvit_b0.py"]
model = dict(backbone=dict(name="efficientvit_b2"), head=dict(channels=96, blocks=3))
