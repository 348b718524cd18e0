"""UPerNet on Swin-S, ADE20K, mmsegmentation's setting; published mIoU 47.72, with scales and flips 49.24."""

_base_ = [
    "../_base_/models/upernet_swin-t.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/swin_160k.py",
]
model = dict(backbone=dict(name="swin_small_patch4_window7_224"))
