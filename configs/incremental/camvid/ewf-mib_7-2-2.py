"""EWF with MiB, CamVid 7-2-2."""

_base_ = "ewf-mib_7-4.py"
task = "camvid_7-2-2"
