"""Semantic FPN on PoolFormer-M36, ADE20K, mmsegmentation's setting; published mIoU 41.95."""

_base_ = [
    "../_base_/models/semfpn_poolformer_s12.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/poolformer_40k.py",
]
model = dict(backbone=dict(name="poolformer_m36"))
train = dict(batch_size=8)
