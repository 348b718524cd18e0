"""EfficientViT-B1 with its segmentation head."""

_base_ = ["efficientvit_b0.py"]
model = dict(backbone=dict(name="efficientvit_b1"), head=dict(channels=64, blocks=3))
