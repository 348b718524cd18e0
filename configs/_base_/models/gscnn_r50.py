"""Gated-SCNN on ResNet-50 at output stride 8, as the paper describes it; the authors' code builds WideResNet-38 alone."""

_base_ = ["gscnn_wrn38.py"]
model = dict(
    backbone=dict(type="Timm", name="resnet50c", output_stride=8, contract_dilation=False, pretrained=True),
    head=dict(stem_level=-5, low_level=-4, gate_levels=(-3, -2, -1)),
)
