"""Semantic FPN on PoolFormer-M48, ADE20K, mmsegmentation's setting; published mIoU 42.43."""

_base_ = [
    "../_base_/models/semfpn_poolformer_s12.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/poolformer_40k.py",
]
model = dict(backbone=dict(name="poolformer_m48"))
train = dict(batch_size=8)
