"""PLOP, CamVid 7-1."""

_base_ = "plop_7-4.py"
task = "camvid_7-1"
