"""DeepLabv2 on a ResNet-101 at three scales, whose largest scores count; each scale has a loss of its own."""

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
    merge="max",
    backbone=dict(
        type="Timm", name="resnet101", output_stride=8, contract_dilation=False, norm_eval=True, pretrained=True
    ),
    head=dict(type="DeepLabV2Head"),
    align_corners=True,
)
losses = [dict(_loss, on="logits"), dict(_loss, on="scale?.logits")]
