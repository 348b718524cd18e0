"""ParseNet on DeepLab-LargeFOV, early fusion."""

_base_ = "deeplab_v1_vgg16.py"
model = dict(head=dict(type="ParseNetHead"))
