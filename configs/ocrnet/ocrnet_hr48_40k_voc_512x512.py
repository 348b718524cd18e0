"""OCRNet on HRNet-W48, VOC 2012, mmsegmentation's setting; published mIoU 77.14."""

_base_ = ["../_base_/models/ocrnet_hr18.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
model = dict(backbone=dict(width=48), head=dict(coarse_channels=720))
