"""UPerNet on Swin-B of ImageNet-22k, ADE20K.

Mmsegmentation's setting; published mIoU 50.13, with scales and flips 51.90.
"""

_base_ = [
    "../_base_/models/upernet_swin-t.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/swin_160k.py",
]
model = dict(backbone=dict(name="swin_base_patch4_window7_224.ms_in22k"))
