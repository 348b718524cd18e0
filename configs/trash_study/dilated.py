"""The trash study on CamVid, row 4: a dilated convolution instead of max pooling."""

_base_ = ["base.py"]
model = dict(backbone=dict(type="TimmUnpooled", name="resnet18", pretrained=None))
