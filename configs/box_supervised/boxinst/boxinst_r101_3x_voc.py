"""BoxInst, ResNet-101, Pascal VOC: 34.2 AP, 62.4 AP50."""

_base_ = [
    "../../_base_/models/boxinst_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxinst_3x_voc.py",
]
model = dict(backbone=dict(name="resnet101.tv_in1k"))
