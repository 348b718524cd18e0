"""Attention to Scale on DeepLab-LargeFOV: three scales, a loss on the merged scores and one on each scale's own."""

from segkit.config import ref

_loss = dict(
    type="OnCoarseLabels",
    loss=dict(type="CrossEntropy"),
    target="mask",
    at="native",
    align_corners=ref("model.align_corners"),
)
model = dict(
    type="MultiScaleSegmentor",
    num_classes=ref("num_classes"),
    scales=(1.0, 0.75, 0.5),
    merge="attention",
    backbone=dict(type="VGG16Dilated", pretrained=True),
    head=dict(type="LargeFOVHead"),
    align_corners=True,
)
losses = [dict(_loss, on="logits"), dict(_loss, on="scale?.logits")]
