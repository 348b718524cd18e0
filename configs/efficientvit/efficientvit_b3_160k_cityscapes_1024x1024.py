"""EfficientViT-B3, Cityscapes, by the setting of B0's config; published mIoU 83.016 at 1024 x 2048."""

_base_ = ["efficientvit_b0_160k_cityscapes_1024x1024.py"]
model = dict(backbone=dict(name="efficientvit_b3"), head=dict(channels=128, blocks=3))
