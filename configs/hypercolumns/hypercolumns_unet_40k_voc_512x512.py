"""Hypercolumns over the decoder of a U-Net, VOC 2012, 40k steps; nothing is published for this set."""

_base_ = ["../_base_/models/hypercolumns_unet.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
