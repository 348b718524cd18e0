"""BoxInst, ResNet-101, COCO: 33.1 AP on val."""

_base_ = [
    "../../_base_/models/boxinst_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxinst_3x.py",
]
model = dict(backbone=dict(name="resnet101.tv_in1k"))
