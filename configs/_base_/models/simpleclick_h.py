"""SimpleClick on ViT-H: its encoder from a masked autoencoder."""

_base_ = "simpleclick_b.py"
model = dict(
    backbone=dict(width=1280, depth=32, heads=16, patch_size=14, global_every=8),
    neck=dict(channels=(240, 480, 960, 1920)),
)
