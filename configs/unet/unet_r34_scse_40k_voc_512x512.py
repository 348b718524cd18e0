"""U-Net with scSE on ResNet-34, VOC 2012, 40k steps."""

_base_ = ["../_base_/models/unet_r34_scse.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
