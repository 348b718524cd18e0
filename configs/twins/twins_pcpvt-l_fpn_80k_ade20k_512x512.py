"""Semantic FPN on Twins-PCPVT-L, ADE20K, mmsegmentation's setting; published mIoU 45.94."""

_base_ = [
    "../_base_/models/twins_pcpvt-s_fpn.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/adamw_fpn_80k.py",
]
model = dict(backbone=dict(name="twins_pcpvt_large"))
train = dict(batch_size=8)
