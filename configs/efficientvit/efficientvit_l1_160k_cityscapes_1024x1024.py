"""EfficientViT-L1, Cityscapes, by the setting of B0's config; published mIoU 82.716 at 1024 x 2048."""

_base_ = ["efficientvit_b0_160k_cityscapes_1024x1024.py"]
model = dict(
    backbone=dict(name="efficientvit_l1"),
    head=dict(channels=256, blocks=3, expand=1, classifier_expand=0, fused=True, activation="gelu", norm_eps=1e-7),
)
