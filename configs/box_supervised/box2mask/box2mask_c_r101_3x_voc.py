"""Box2Mask-C, ResNet-101, Pascal VOC."""

_base_ = [
    "../../_base_/models/box2mask_c_r50.py",
    "../../_base_/datasets/voc_instances.py",
    "../../_base_/schedules/boxlevelset_3x_voc.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"), head=dict(mask_threshold=0.7))
