"""The study of iterative training, a quarter of an hour on two CPU cores: sampled clicks alone, no previous mask."""

_base_ = ["unet_efficientnet-lite0_no-previous_15min.py"]
runner = dict(iterations=0)
