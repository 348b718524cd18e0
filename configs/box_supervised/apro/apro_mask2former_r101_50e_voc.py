"""APro on Mask2Former, ResNet-101, Pascal VOC: 43.6 AP, 72.0 AP50."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e_voc.py",
]
model = dict(backbone=dict(name="resnet101.tv2_in1k"), head=dict(level_features=0))
losses = [dict(type="QueryAPro")]
