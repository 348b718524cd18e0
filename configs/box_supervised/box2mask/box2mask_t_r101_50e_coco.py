"""Box2Mask-T, ResNet-101, COCO: 38.2 AP on val, 37.9 in the paper."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"))
