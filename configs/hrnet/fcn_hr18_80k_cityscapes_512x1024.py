"""HRNet-W18, Cityscapes, mmsegmentation's setting; published mIoU 78.65."""

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
