"""Box2Mask-T, Swin-L, COCO: 41.9 AP on val, 42.5 on test-dev."""

_base_ = [
    "../../_base_/models/box2mask_swin_l.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_swin_50e.py",
]
train = dict(batch_size=4)
