"""Box2Mask-T, Swin-T, COCO: no published score."""

_base_ = [
    "../../_base_/models/box2mask_swin_t.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_swin_50e.py",
]
train = dict(batch_size=4)
