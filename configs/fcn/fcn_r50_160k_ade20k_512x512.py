"""As mmsegmentation's fcn r50-d8, 160k steps on ade20k, crops of 512x512."""

_base_ = [
    "../_base_/models/fcn_r50.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/sgd_160k.py",
]
