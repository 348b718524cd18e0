"""EWF with MiB, CamVid 7-1."""

_base_ = "ewf-mib_7-4.py"
task = "camvid_7-1"
