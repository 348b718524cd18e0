"""DeepLab-MSc-LargeFOV: DeepLab v1 whose classifier also sees the image and the first four poolings."""

_base_ = "deeplab_v1_vgg16.py"
model = dict(head=dict(side_channels=128))
