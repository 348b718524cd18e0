"""DiscoBox, ResNet-50, Pascal VOC: 32.9 AP, 61.0 AP50."""

_base_ = [
    "../../_base_/models/discobox_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/discobox_3x_voc.py",
]
model = dict(head=dict(mask_threshold=0.5))
