"""BoxTeacher, Swin-B, COCO: 40.2 AP on val as published."""

_base_ = [
    "../../_base_/models/boxteacher_swin_b.py",
    "../../_base_/datasets/coco_instances_clean_blur.py",
    "../../_base_/schedules/boxteacher_3x.py",
]
optimizer = dict(type="AdamW", lr=1e-4, weight_decay=0.05, groups=[dict(kind="norm", decay=0)])
