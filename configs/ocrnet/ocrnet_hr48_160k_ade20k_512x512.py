"""OCRNet on HRNet-W48, ADE20K, mmsegmentation's setting; published mIoU 43.25."""

_base_ = ["../_base_/models/ocrnet_hr18.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
model = dict(backbone=dict(width=48), head=dict(coarse_channels=720))
