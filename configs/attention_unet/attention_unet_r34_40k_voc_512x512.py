"""Attention U-Net on ResNet-34, VOC 2012; the paper segments volumes of computed tomography."""

_base_ = ["../_base_/models/attention_unet_r34.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
