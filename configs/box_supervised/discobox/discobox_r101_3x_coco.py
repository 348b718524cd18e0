"""DiscoBox, ResNet-101, COCO: 33.4 AP on val."""

_base_ = [
    "../../_base_/models/discobox_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/discobox_3x.py",
]
model = dict(backbone=dict(name="resnet101.tv_in1k"))
