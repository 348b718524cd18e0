"""Box2Mask-C, ResNet-101 with deformable convolutions, COCO."""

_base_ = [
    "../../_base_/models/box2mask_c_r50.py",
    "../../_base_/datasets/coco_instances.py",
    "../../_base_/schedules/boxlevelset_3x.py",
]
model = dict(
    backbone=dict(name="resnet101.tv2_in1k", deformable_stages=3),
    head=dict(deformable=True, mask_threshold=0.45),
)
