"""PIDNet-M: S at twice the width."""

_base_ = ["pidnet_s.py"]
model = dict(
    backbone=dict(channels=64),
    aux=[dict(type="DDRHead", level=-3, channels=128), dict(type="BoundaryHead", level=-2, channels=64)],
)
