"""MiB, VOC 10-1: the background and 10 classes, then 10 one by one."""

_base_ = "mib_voc_15-5.py"
task, kd_weight = "voc_10-1", 100.0
