"""160,000 steps of SGD with the poly rate after a warm-up, as mmsegmentation's BiSeNet.

The warm-up multiplies the falling rate as in mmsegmentation 0.x; in 1.x the rate falls from its end on
(up to 1 % higher).
"""

_base_ = ["sgd_160k.py"]
schedule = dict(warmup=dict(steps=1000, factor=0.1))
