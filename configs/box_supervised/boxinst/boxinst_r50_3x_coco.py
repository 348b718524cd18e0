"""BoxInst, ResNet-50, COCO: 32.1 AP on val."""

_base_ = [
    "../../_base_/models/boxinst_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxinst_3x.py",
]
