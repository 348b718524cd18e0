"""Segmenter on ViT-B, mask transformer, ADE20K, mmsegmentation's setting; published mIoU 49.60."""

_base_ = [
    "../_base_/models/segmenter_vit-b_mask.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmenter_160k.py",
]
train = dict(batch_size=2)
