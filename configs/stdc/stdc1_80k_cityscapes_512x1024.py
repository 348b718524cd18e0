"""STDC1, Cityscapes, mmsegmentation's setting (four processes); published mIoU 71.82, from ImageNet weights 74.94.

The warm-up multiplies the falling rate as in mmsegmentation 0.x; in 1.x the rate falls from its end on
(up to 1 % higher).
"""

_base_ = ["../_base_/models/stdc1.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
train = dict(batch_size=12)
schedule = dict(warmup=dict(steps=1000, factor=0.1))
