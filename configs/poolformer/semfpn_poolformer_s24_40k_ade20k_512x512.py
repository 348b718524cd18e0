"""Semantic FPN on PoolFormer-S24, ADE20K, mmsegmentation's setting; published mIoU 40.12."""

_base_ = [
    "../_base_/models/semfpn_poolformer_s12.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/poolformer_40k.py",
]
model = dict(backbone=dict(name="poolformer_s24"))
train = dict(batch_size=8)
