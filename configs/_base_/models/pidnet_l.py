"""PIDNet-L: M with more blocks, deeper pooling and a fusion that convolves."""

_base_ = ["pidnet_s.py"]
model = dict(
    backbone=dict(channels=64, pool_channels=112, stem_blocks=3, branch_blocks=4, light=False),
    head=dict(channels=256),
    aux=[dict(type="DDRHead", level=-3, channels=256), dict(type="BoundaryHead", level=-2, channels=64)],
)
