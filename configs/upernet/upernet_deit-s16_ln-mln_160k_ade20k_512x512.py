"""UPerNet on DeiT-S with a final normalization and a multi-level neck, ADE20K.

Mmsegmentation's setting; published mIoU 43.52, with scales and flips 45.01.
"""

_base_ = [
    "../_base_/models/upernet_deit-s16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/vit_160k.py",
]
model = dict(backbone=dict(norm_levels=(-1,)), neck=dict(type="MultiLevelNeck"))
