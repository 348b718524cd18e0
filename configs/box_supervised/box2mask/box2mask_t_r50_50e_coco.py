"""Box2Mask-T, ResNet-50, COCO: 35.9 AP on val, 36.1 in the paper."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e.py",
]
