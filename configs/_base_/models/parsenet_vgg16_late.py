"""ParseNet on DeepLab-LargeFOV, late fusion."""

_base_ = "parsenet_vgg16.py"
model = dict(head=dict(late=True))
