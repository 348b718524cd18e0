"""PAN on a dilated ResNet-50, output stride 16, in the form of segmentation_models."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50", output_stride=16, contract_dilation=False, pretrained=True),
    head=dict(type="PANHead"),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
