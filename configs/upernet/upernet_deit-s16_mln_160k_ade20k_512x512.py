"""UPerNet on DeiT-S with a multi-level neck, ADE20K.

Mmsegmentation's setting; published mIoU 43.82, with scales and flips 45.07.
"""

_base_ = [
    "../_base_/models/upernet_deit-s16.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/vit_160k.py",
]
model = dict(neck=dict(type="MultiLevelNeck"))
