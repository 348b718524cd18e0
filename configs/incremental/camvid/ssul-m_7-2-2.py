"""SSUL-M, CamVid 7-2-2."""

_base_ = "ssul-m_7-4.py"
task = "camvid_7-2-2"
runner = dict(start="work_dirs/ssul-m_7-4/step0/last.pt")
