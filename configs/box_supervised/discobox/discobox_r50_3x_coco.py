"""DiscoBox, ResNet-50, COCO: 32.2 AP on val, 31.4 in the paper without several scales."""

_base_ = [
    "../../_base_/models/discobox_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/discobox_3x.py",
]
