"""BoxInst, ResNet-50, Pascal VOC: 32.0 AP, 60.2 AP50."""

_base_ = [
    "../../_base_/models/boxinst_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxinst_3x_voc.py",
]
