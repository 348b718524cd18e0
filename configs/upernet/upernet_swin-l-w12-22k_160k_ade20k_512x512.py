"""UPerNet on Swin-L with windows of 12, of ImageNet-22k, ADE20K, mmsegmentation's setting."""

_base_ = [
    "../_base_/models/upernet_swin-t.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/swin_160k.py",
]
model = dict(backbone=dict(name="swin_large_patch4_window12_384.ms_in22k"))
