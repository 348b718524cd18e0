"""OCRNet on HRNet-W18, Cityscapes, mmsegmentation's setting; published mIoU 78.57."""

_base_ = ["../_base_/models/ocrnet_hr18.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_80k.py"]
