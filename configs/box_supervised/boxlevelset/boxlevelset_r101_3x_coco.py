"""BoxLevelSet, ResNet-101, COCO: 33.0 AP on val, 33.4 on test-dev."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"))
