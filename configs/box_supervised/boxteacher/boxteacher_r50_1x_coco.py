"""BoxTeacher, ResNet-50, COCO: 32.6 AP on val as published, from other weights of ImageNet."""

_base_ = [
    "../../_base_/models/boxteacher_r50.py",
    "../../_base_/datasets/coco_instances_clean.py",
    "../../_base_/schedules/boxteacher_1x.py",
]
model = dict(backbone=dict(name="resnet50.tv_in1k", pretrained=True, stride_in_first=False, mean=None, std=None))
