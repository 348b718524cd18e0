"""MiB, VOC 19-1: the background and 19 classes, then one."""

_base_ = "mib_voc_15-5.py"
task = "voc_19-1"
