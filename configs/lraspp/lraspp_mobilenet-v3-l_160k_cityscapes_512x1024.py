"""LR-ASPP on MobileNetV3-L, Cityscapes, mmsegmentation's setting; published mIoU 69.54."""

_base_ = [
    "../_base_/models/lraspp_mobilenet-v3-l.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_160k.py",
]
train = dict(batch_size=4)
