"""Segmenter on ViT-S, linear head, ADE20K, mmsegmentation's setting; published mIoU 45.75."""

_base_ = [
    "../_base_/models/segmenter_vit-s_fcn.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmenter_160k.py",
]
train = dict(batch_size=2)
