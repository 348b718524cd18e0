"""Box2Mask-T, ResNet-50, Pascal VOC: 41.4 AP, 68.9 AP50."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e_voc.py",
]
