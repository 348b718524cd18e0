"""HRNet-W48, ADE20K, mmsegmentation's setting; published mIoU 42.02."""

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
model = dict(backbone=dict(width=48), head=dict(channels=720))
