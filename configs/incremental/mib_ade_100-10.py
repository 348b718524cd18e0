"""MiB, ADE20K 100-10: 100 classes, then 50 by tens."""

_base_ = "mib_ade_100-50.py"
task = "ade_100-10"
