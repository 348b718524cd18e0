"""SFNet on ResNet-101, Cityscapes, 180 epochs, batch 16 on four GPUs."""

_base_ = ["sfnet_r50_180e_cityscapes_1024x1024.py"]
model = dict(backbone=dict(name="resnet101s"))
