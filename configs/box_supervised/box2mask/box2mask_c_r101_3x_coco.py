"""Box2Mask-C, ResNet-101, COCO."""

_base_ = [
    "../../_base_/models/box2mask_c_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"))
