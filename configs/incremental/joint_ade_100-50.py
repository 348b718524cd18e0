"""Joint training on all ADE20K classes, the upper bound; scored as 100-50 is."""

_base_ = "mib_ade_100-50.py"
task, setting = "ade_offline", "overlapped"
metrics = [dict(type="IncrementalIoU", sizes=(101, 50))]
