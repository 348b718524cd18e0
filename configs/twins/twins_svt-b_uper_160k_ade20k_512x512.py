"""UPerNet on Twins-SVT-B, ADE20K, mmsegmentation's setting; published mIoU 48.04."""

_base_ = [
    "../_base_/models/twins_svt-s_uper.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/twins_160k.py",
]
model = dict(backbone=dict(name="twins_svt_base", drop_path_rate=0.2))
