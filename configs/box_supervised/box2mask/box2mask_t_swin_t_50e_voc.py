"""Box2Mask-T, Swin-T, Pascal VOC: no published score."""

_base_ = [
    "../../_base_/models/box2mask_swin_t.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_swin_50e_voc.py",
]
train = dict(batch_size=4)
