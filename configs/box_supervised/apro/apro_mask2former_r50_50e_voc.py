"""APro on Mask2Former, ResNet-50, Pascal VOC: 42.3 AP, 70.6 AP50."""

_base_ = [
    "../../_base_/models/box2mask_r50.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_50e_voc.py",
]
model = dict(head=dict(level_features=0))
losses = [dict(type="QueryAPro", zeta_image=0.02)]
