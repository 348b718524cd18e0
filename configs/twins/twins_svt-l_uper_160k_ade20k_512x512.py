"""UPerNet on Twins-SVT-L, ADE20K, mmsegmentation's setting; published mIoU 49.65."""

_base_ = [
    "../_base_/models/twins_svt-s_uper.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/twins_160k.py",
]
model = dict(backbone=dict(name="twins_svt_large", drop_path_rate=0.3))
