"""PLOP, CamVid 7-2-2."""

_base_ = "plop_7-4.py"
task = "camvid_7-2-2"
