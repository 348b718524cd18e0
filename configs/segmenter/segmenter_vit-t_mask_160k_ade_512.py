"""Segmenter on ViT-T, mask transformer, ADE20K, mmsegmentation's setting; published mIoU 39.99."""

_base_ = [
    "../_base_/models/segmenter_vit-t_mask.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmenter_160k.py",
]
train = dict(batch_size=2)
