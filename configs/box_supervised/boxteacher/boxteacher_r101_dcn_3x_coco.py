"""BoxTeacher, ResNet-101 with deformable convolutions, COCO: 37.2 AP on val as published, from other weights."""

_base_ = "boxteacher_r101_3x_coco.py"
model = dict(backbone=dict(deformable_stages=3, modulated=True))
