"""DiscoBox: SOLOv2 on a ResNet-50, taught by a moving average of itself."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDetection", name="resnet50.tv_in1k", pretrained=True, frozen_stages=2),
    neck=dict(type="FPN", extra_levels=1),
    head=dict(
        type="SOLOv2Head",
        channels=512,
        kernel_channels=256,
        kernel_conv=3,
        mask_channels=128,
        mask_groups=32,
        level_features=0,
        score_threshold=0.1,
        mask_threshold=0.4,
        keep_score=0.05,
    ),
)
losses = [dict(type="DiscoBox")]
