"""Hypercolumns of VGG-16, VOC 2012; the paper segments detected objects."""

_base_ = ["../_base_/models/hypercolumns_vgg16.py", "../_base_/datasets/voc.py", "../_base_/schedules/sgd_40k.py"]
optimizer = dict(lr=1e-3)
