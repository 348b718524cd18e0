"""Semantic FPN on Twins-PCPVT-B, ADE20K, mmsegmentation's setting; published mIoU 45.66."""

_base_ = [
    "../_base_/models/twins_pcpvt-s_fpn.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/adamw_fpn_80k.py",
]
model = dict(backbone=dict(name="twins_pcpvt_base"))
train = dict(batch_size=8)
