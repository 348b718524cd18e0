"""As mmsegmentation's deeplabv3plus r50-d8, 80k steps on cityscapes, crops of 512x1024."""

_base_ = [
    "../_base_/models/deeplabv3plus_r50.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_80k.py",
]
