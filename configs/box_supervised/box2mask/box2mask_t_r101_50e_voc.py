"""Box2Mask-T, ResNet-101, Pascal VOC: 43.2 AP, 70.8 AP50."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e_voc.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"))
