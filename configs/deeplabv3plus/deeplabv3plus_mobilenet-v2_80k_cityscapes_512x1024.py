"""DeepLabv3+ on MobileNetV2, Cityscapes, mmsegmentation's setting; published mIoU 75.20."""

_base_ = [
    "../_base_/models/deeplabv3plus_mobilenet-v2.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_80k.py",
]
