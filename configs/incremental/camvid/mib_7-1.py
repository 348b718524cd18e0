"""MiB, CamVid 7-1."""

_base_ = "mib_7-4.py"
task, kd_weight = "camvid_7-1", 100.0
