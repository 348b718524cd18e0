"""STAR, CamVid 7-1."""

_base_ = "star_7-4.py"
task = "camvid_7-1"
runner = dict(start="work_dirs/star_7-4/step0/last.pt")
