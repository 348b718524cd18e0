"""Segmenter on ViT-L, mask transformer, ADE20K at 640, mmsegmentation's setting; published mIoU 52.16."""

_base_ = [
    "../_base_/models/segmenter_vit-l_mask.py",
    "../_base_/datasets/ade20k_640.py",
    "../_base_/schedules/segmenter_160k.py",
]
train = dict(batch_size=2)
inference = dict(crop=(640, 640), stride=(608, 608))
