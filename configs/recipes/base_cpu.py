"""Hours on a CPU: the network of small_cpu.py with twice the channels, all of its encoder trained."""

_base_ = ["small_cpu.py"]
model = dict(backbone=dict(frozen_stages=0), neck=dict(channels=128), head=dict(channels=256))
loop = dict(ema=0.999, save_every=250)
