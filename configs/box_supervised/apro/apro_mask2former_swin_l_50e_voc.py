"""APro on Mask2Former, Swin-L, Pascal VOC: 49.6 AP, 77.6 AP50."""

_base_ = [
    "../../_base_/models/box2mask_swin_l.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_swin_50e_voc.py",
]
model = dict(head=dict(level_features=0))
losses = [dict(type="QueryAPro")]
optimizer = dict(lr=5e-5)
schedule = dict(milestones=(29390, 31840))
loop = dict(steps=33065)
