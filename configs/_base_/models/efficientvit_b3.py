"""EfficientViT-B3 with its segmentation head."""

_base_ = ["efficientvit_b0.py"]
model = dict(backbone=dict(name="efficientvit_b3"), head=dict(channels=128, blocks=3))
