"""MiB, ADE20K 50-50: three steps of 50 classes."""

_base_ = "mib_ade_100-50.py"
task = "ade_50-50"
