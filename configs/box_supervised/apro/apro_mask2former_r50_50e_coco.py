"""APro on Mask2Former, ResNet-50, COCO: 36.1 AP."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e.py",
]
model = dict(head=dict(level_features=0))
losses = [dict(type="QueryAPro")]
optimizer = dict(lr=5e-5)
