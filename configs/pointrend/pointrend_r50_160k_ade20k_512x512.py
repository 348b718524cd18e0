"""PointRend on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 37.64."""

_base_ = ["../_base_/models/pointrend_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
schedule = dict(warmup=dict(steps=200, factor=0.1))
