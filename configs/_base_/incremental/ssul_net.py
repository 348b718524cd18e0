"""The network of SSUL: torchvision's ResNet-101, DeepLabv3's pyramid, a head of two convolutions for each step."""

from segkit.config import ref

model = dict(
    type="GrowingSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet101", output_stride=16, pretrained=True, norm_momentum=0.01),
    head=dict(type="SSULHead"),
    readout="unknown",
)
losses = [dict(type="UnknownBCE")]
