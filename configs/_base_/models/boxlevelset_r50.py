"""BoxLevelSet on a ResNet-50."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDetection", name="resnet50.tv2_in1k", pretrained=True, frozen_stages=2),
    neck=dict(type="FPN", extra_levels=1),
    head=dict(type="SOLOv2Head", mask_threshold=0.55),
)
losses = [dict(type="BoxLevelSet")]
