"""UPerNet on Twins-SVT-S, ADE20K, mmsegmentation's setting; published mIoU 46.08."""

_base_ = [
    "../_base_/models/twins_svt-s_uper.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/twins_160k.py",
]
