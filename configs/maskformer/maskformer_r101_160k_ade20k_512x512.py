"""MaskFormer on ResNet-101, ADE20K, mmsegmentation's setting; published mIoU 45.11."""

_base_ = ["maskformer_r50_160k_ade20k_512x512.py"]
model = dict(backbone=dict(name="resnet101.tv_in1k"))
