"""APro on Mask2Former, Swin-T, COCO: no published score."""

_base_ = [
    "../../_base_/models/box2mask_swin_t.py",
    "../../_base_/datasets/coco_instances_jitter.py",
    "../../_base_/schedules/box2mask_swin_50e.py",
]
model = dict(head=dict(level_features=0))
losses = [dict(type="QueryAPro")]
optimizer = dict(lr=1e-4)
schedule = dict(milestones=(327778, 355092))
loop = dict(steps=368750)
