"""DDRNet-23."""

_base_ = ["ddrnet_23-slim.py"]
model = dict(backbone=dict(channels=64), head=dict(channels=128), aux=[dict(type="DDRHead", level=-2, channels=128)])
