"""DFT*, CamVid 7-1."""

_base_ = "dft-star_7-4.py"
task = "camvid_7-1"
