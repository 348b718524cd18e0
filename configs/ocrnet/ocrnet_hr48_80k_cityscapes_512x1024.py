"""OCRNet on HRNet-W48, Cityscapes, mmsegmentation's setting; published mIoU 80.70."""

_base_ = ["../_base_/models/ocrnet_hr18.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
model = dict(backbone=dict(width=48), head=dict(coarse_channels=720))
