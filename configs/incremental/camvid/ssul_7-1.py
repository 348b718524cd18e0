"""SSUL, CamVid 7-1."""

_base_ = "ssul_7-4.py"
task = "camvid_7-1"
runner = dict(start="work_dirs/ssul_7-4/step0/last.pt")
