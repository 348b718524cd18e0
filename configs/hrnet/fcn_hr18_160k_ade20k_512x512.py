"""HRNet-W18, ADE20K, mmsegmentation's setting; published mIoU 36.79."""

_base_ = ["../_base_/models/fcn_hr18.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
