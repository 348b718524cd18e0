"""Semantic FPN on PoolFormer-S12, ADE20K, mmsegmentation's setting; published mIoU 36.68."""

_base_ = [
    "../_base_/models/semfpn_poolformer_s12.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/poolformer_40k.py",
]
train = dict(batch_size=8)
