"""LR-ASPP on MobileNetV3-S, Cityscapes, mmsegmentation's setting; published mIoU 64.11."""

_base_ = [
    "../_base_/models/lraspp_mobilenet-v3-l.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/sgd_160k.py",
]
model = dict(backbone=dict(name="tf_mobilenetv3_small_100"))
train = dict(batch_size=4)
