"""STDC2, Cityscapes, mmsegmentation's setting (four processes); published mIoU 73.15, from ImageNet weights 76.67."""

_base_ = ["../_base_/models/stdc2.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
train = dict(batch_size=12)
schedule = dict(warmup=dict(steps=1000, factor=0.1))
