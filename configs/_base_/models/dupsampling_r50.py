"""DUpsampling on a ResNet-50 of output stride 16."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50c", output_stride=16, pretrained=True),
    head=dict(type="DUpsamplingHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
