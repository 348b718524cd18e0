"""STDC2, Cityscapes, mmsegmentation's setting (four processes); published mIoU 73.15, from ImageNet weights 76.67.

The warm-up multiplies the falling rate as in mmsegmentation 0.x; in 1.x the rate falls from its end on
(up to 1 % higher).
"""

_base_ = ["../_base_/models/stdc2.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
train = dict(batch_size=12)
schedule = dict(warmup=dict(steps=1000, factor=0.1))
