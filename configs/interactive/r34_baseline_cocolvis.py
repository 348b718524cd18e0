"""Clicks sampled once, no previous mask: DeepLabv3+ on ResNet-34, trained on COCO+LVIS (table 3)."""

_base_ = [
    "../_base_/models/ritm_r34.py",
    "../_base_/datasets/clicks_cocolvis.py",
    "../_base_/schedules/clicks_160e_b28.py",
]
runner = dict(type="Interactive", iterations=0)
min_area, keep_background = 80, 0.0
