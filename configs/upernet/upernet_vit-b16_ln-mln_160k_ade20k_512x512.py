"""UPerNet on ViT-B/16 with a final normalization and a multi-level neck, ADE20K.

Mmsegmentation's setting; published mIoU 47.73, with scales and flips 49.95.
"""

_base_ = [
    "../_base_/models/upernet_vit-b16_ln-mln.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/vit_160k.py",
]
