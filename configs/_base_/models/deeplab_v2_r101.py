"""DeepLabv2 on a ResNet-101 with frozen statistics, at one scale."""

_base_ = "deeplab_v1_r101.py"
model = dict(head=dict(type="DeepLabV2Head"))
