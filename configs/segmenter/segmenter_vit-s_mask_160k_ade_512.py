"""Segmenter on ViT-S, mask transformer, ADE20K, mmsegmentation's setting; published mIoU 46.19."""

_base_ = [
    "../_base_/models/segmenter_vit-s_mask.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segmenter_160k.py",
]
train = dict(batch_size=2)
