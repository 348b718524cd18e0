"""HANet: height-driven attention in DeepLabv3+ on a ResNet-101 of output stride 8, stem of 64, 64, 128 channels."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet101s", output_stride=8, contract_dilation=False, pretrained=True),
    head=dict(type="HANetHead"),
    aux=[dict(type="FCNHead", level=-2, channels=512)],
    align_corners=True,
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", weight=0.4),
]
