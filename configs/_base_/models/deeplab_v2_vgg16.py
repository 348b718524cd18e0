"""DeepLabv2 on VGG-16: four branches of fc6, fc7 and fc8."""

_base_ = "deeplab_v1_vgg16.py"
model = dict(head=dict(type="DeepLabV2Head", hidden=1024))
