"""HRNet-W48, Cityscapes, mmsegmentation's setting; published mIoU 79.93."""

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
model = dict(backbone=dict(width=48), head=dict(channels=720))
