"""BoxTeacher, ResNet-101, COCO: 36.2 AP on val as published, from other weights of ImageNet."""

_base_ = [
    "../../_base_/models/boxteacher_r50.py",
    "../../_base_/datasets/coco_instances_clean_blur.py",
    "../../_base_/schedules/boxteacher_3x.py",
]
model = dict(backbone=dict(name="resnet101.tv_in1k", pretrained=True, stride_in_first=False, mean=None, std=None))
