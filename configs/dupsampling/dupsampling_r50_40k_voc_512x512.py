"""DUpsampling on ResNet-50, VOC 2012."""

_base_ = ["../_base_/models/dupsampling_r50.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
