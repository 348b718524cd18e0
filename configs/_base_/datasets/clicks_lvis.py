"""LVIS v1: 100,170 images; else as COCO+LVIS."""

_base_ = "clicks_cocolvis.py"
train = dict(dataset=dict(type="LVISClicks"))
