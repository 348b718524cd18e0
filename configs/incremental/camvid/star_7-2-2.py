"""STAR, CamVid 7-2-2."""

_base_ = "star_7-4.py"
task = "camvid_7-2-2"
runner = dict(start="work_dirs/star_7-4/step0/last.pt")
