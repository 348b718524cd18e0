"""Eleven kinds of trash, U-Net on an ImageNet ResNet-34."""

_base_ = ["../_base_/models/unet_r34.py", "../_base_/datasets/trash.py", "../_base_/schedules/sgd_40k.py"]
