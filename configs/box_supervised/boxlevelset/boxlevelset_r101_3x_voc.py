"""BoxLevelSet, ResNet-101, Pascal VOC: 38.3 AP, 66.3 AP50."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxlevelset_3x_voc.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"), head=dict(mask_threshold=0.7))
