"""mmsegmentation's U-Net S5-D16, 160k steps on Cityscapes."""

_base_ = ["../_base_/models/unet_s5-d16.py", "../_base_/datasets/cityscapes.py", "../_base_/schedules/sgd_160k.py"]
