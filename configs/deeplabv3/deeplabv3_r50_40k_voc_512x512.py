"""As mmsegmentation's deeplabv3 r50-d8, 40k steps on voc, crops of 512x512."""

_base_ = [
    "../_base_/models/deeplabv3_r50.py",
    "../_base_/datasets/voc.py",
    "../_base_/schedules/sgd_40k.py",
]
