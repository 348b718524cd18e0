"""Semantic FPN on Twins-PCPVT-S, ADE20K, mmsegmentation's setting; published mIoU 43.26."""

_base_ = [
    "../_base_/models/twins_pcpvt-s_fpn.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/adamw_fpn_80k.py",
]
train = dict(batch_size=8)
