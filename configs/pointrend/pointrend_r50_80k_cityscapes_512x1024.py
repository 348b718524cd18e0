"""PointRend on ResNet-50, Cityscapes, mmsegmentation's setting; published mIoU 76.47."""

_base_ = ["../_base_/models/pointrend_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
schedule = dict(warmup=dict(steps=200, factor=0.1))
