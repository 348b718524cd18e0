"""BiSeNet on ResNet-50: four times as wide."""

_base_ = ["bisenet_r18.py"]
model = dict(
    backbone=dict(encoder="resnet50", channels=512, spatial_channels=(256, 256, 256, 512), fused_channels=1024),
    head=dict(channels=1024),
    aux=[dict(type="FCNHead", level=-2), dict(type="FCNHead", level=-3)],
)
