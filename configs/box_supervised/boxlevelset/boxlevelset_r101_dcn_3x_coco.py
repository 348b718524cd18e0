"""BoxLevelSet, ResNet-101 with deformable convolutions, COCO: 35.0 AP on val, 35.4 on test-dev."""

_base_ = [
    "../../_base_/models/boxlevelset_r101_dcn.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
