"""MiB, ADE20K 100-5: 100 classes, then 50 by fives; of later papers, whose images may show classes of any step."""

_base_ = "mib_ade_100-50.py"
task, setting = "ade_100-5", "overlapped"
