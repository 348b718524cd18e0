"""UPerNet on Swin-B, ADE20K, mmsegmentation's setting; published mIoU 47.99, with scales and flips 49.57."""

_base_ = [
    "../_base_/models/upernet_swin-t.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/swin_160k.py",
]
model = dict(backbone=dict(name="swin_base_patch4_window7_224.ms_in1k"))
