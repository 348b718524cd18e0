"""MaskFormer on ResNet-50, ADE20K, mmsegmentation's setting; published mIoU 44.29."""

_base_ = [
    "../_base_/models/maskformer_r50.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/maskformer_160k.py",
]
