"""160,000 steps of SGD with the poly rate after a warm-up, as mmsegmentation's BiSeNet."""

_base_ = ["sgd_160k.py"]
schedule = dict(warmup=dict(steps=1000, factor=0.1))
