"""HRNet-W48, VOC 2012, mmsegmentation's setting; published mIoU 76.24."""

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
model = dict(backbone=dict(width=48), head=dict(channels=720))
