"""EfficientViT-B2, Cityscapes, by the setting of B0's config; published mIoU 82.073 at 1024 x 2048."""

_base_ = ["efficientvit_b0_160k_cityscapes_1024x1024.py"]
model = dict(backbone=dict(name="efficientvit_b2"), head=dict(channels=96, blocks=3))
