"""OCRNet on ResNet-101, Cityscapes, mmsegmentation's setting; published mIoU 80.09."""

_base_ = ["../_base_/models/ocrnet_r50.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_40k.py"]
model = dict(backbone=dict(name="resnet101c"))
