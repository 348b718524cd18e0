"""MiB, CamVid 7-2-2."""

_base_ = "mib_7-4.py"
task = "camvid_7-2-2"
