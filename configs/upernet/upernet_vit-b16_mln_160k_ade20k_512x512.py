"""UPerNet on ViT-B/16 with a multi-level neck, ADE20K.

Mmsegmentation's setting; published mIoU 46.75, with scales and flips 48.46.
"""

_base_ = [
    "../_base_/models/upernet_vit-b16_ln-mln.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/vit_160k.py",
]
model = dict(backbone=dict(norm_levels=()))
