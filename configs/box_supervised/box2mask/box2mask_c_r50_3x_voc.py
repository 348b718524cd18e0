"""Box2Mask-C, ResNet-50, Pascal VOC: 38.0 AP in the paper."""

_base_ = [
    "../../_base_/models/box2mask_c_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxlevelset_3x_voc.py",
]
model = dict(head=dict(mask_threshold=0.7))
