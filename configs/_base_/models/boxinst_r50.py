"""BoxInst: CondInst on a ResNet-50."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDetection", name="resnet50.tv_in1k", pretrained=True, frozen_stages=2),
    neck=dict(type="FPN", num_levels=3, extra_levels=2, extra_convs=True),
    head=dict(type="CondInstHead"),
)
losses = [dict(type="FCOS"), dict(type="BoxInst")]
