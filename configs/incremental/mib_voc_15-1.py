"""MiB, VOC 15-1: the background and 15 classes, then 5 one by one."""

_base_ = "mib_voc_15-5.py"
task, kd_weight = "voc_15-1", 100.0
