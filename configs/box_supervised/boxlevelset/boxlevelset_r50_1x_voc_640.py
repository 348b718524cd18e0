"""BoxLevelSet, ResNet-50, Pascal VOC at a short side of 640 in a third of the epochs; no published score."""

_base_ = [
    "../../_base_/models/boxlevelset_r50.py",
    "../../_base_/datasets/voc_instances_640.py",
    "../../_base_/schedules/boxlevelset_1x_voc.py",
]
model = dict(head=dict(mask_threshold=0.7))
