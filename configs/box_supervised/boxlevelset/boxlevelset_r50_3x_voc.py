"""BoxLevelSet, ResNet-50, Pascal VOC: 36.5 AP, 64.2 AP50."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxlevelset_3x_voc.py",
]
model = dict(head=dict(mask_threshold=0.7))
