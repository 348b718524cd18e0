"""Semantic FPN in the form of segmentation_models, on mmsegmentation's schedule for Cityscapes."""

_base_ = ["../_base_/models/fpn_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
