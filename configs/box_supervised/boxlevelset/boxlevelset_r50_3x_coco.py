"""BoxLevelSet, ResNet-50, COCO: 31.4 AP on val, 31.7 on test-dev."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
