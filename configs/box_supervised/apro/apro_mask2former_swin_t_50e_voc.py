"""APro on Mask2Former, Swin-T, Pascal VOC: no published score."""

_base_ = [
    "../../_base_/models/box2mask_swin_t.py",
    "../../_base_/datasets/voc_instances_jitter.py",
    "../../_base_/schedules/box2mask_swin_50e_voc.py",
]
model = dict(head=dict(level_features=0))
losses = [dict(type="QueryAPro", zeta_image=0.02)]
optimizer = dict(lr=5e-5)
schedule = dict(milestones=(29390, 31840))
loop = dict(steps=33065)
