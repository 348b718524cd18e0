"""BoxInst, ResNet-50, COCO: 30.7 AP on val."""

_base_ = [
    "../../_base_/models/boxinst_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxinst_1x.py",
]
optimizer = dict(lr=0.005)
