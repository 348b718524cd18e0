"""The study of iterative training, a quarter of an hour on two CPU cores: everything on."""

_base_ = ["unet_efficientnet-lite0_itermask.py"]
loop = dict(steps=820)
