"""Semantic FPN on ResNet-50, Cityscapes, mmsegmentation's setting; published mIoU 74.52."""

_base_ = ["../_base_/models/semfpn_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
