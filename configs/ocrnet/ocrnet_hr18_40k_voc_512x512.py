"""OCRNet on HRNet-W18, VOC 2012, mmsegmentation's setting; published mIoU 74.98."""

_base_ = ["../_base_/models/ocrnet_hr18.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
