"""APro on Mask2Former, ResNet-101, COCO: 38.0 AP."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"), head=dict(level_features=0))
losses = [dict(type="QueryAPro")]
