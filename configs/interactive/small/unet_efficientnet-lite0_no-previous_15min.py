"""The study of iterative training, a quarter of an hour on two CPU cores: without the previous mask."""

_base_ = ["unet_efficientnet-lite0_itermask_15min.py"]
model = dict(previous_mask=False)
