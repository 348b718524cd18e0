"""DiscoBox, ResNet-101, Pascal VOC: 34.6 AP, 63.0 AP50."""

_base_ = [
    "../../_base_/models/discobox_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/discobox_3x_voc.py",
]
model = dict(backbone=dict(name="resnet101.tv_in1k"), head=dict(mask_threshold=0.5))
