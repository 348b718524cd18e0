"""PSANet on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 41.67."""

_base_ = ["../_base_/models/psanet_r50.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/sgd_160k.py"]
model = dict(head=dict(mask_size=(66, 66)))
