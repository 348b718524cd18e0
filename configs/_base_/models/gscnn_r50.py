"""Gated-SCNN on ResNet-50 at output stride 8: in the paper, and not in the authors' code, which ignores its --trunk."""

_base_ = ["gscnn_wrn38.py"]
model = dict(
    backbone=dict(type="Timm", name="resnet50", output_stride=8, contract_dilation=False, pretrained=True),
    head=dict(stem_level=-5, low_level=-4, gate_levels=(-3, -2, -1)),
)
