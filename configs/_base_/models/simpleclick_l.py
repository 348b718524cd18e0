"""SimpleClick on ViT-L: its encoder from a masked autoencoder."""

_base_ = "simpleclick_b.py"
model = dict(
    backbone=dict(width=1024, depth=24, heads=16),
    neck=dict(channels=(192, 384, 768, 1536)),
)
