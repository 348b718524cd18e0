"""Clicks sampled once, no previous mask: DeepLabv3+ on ResNet-34, trained on LVIS (table 3)."""

_base_ = [
    "../_base_/models/ritm_r34.py",
    "../_base_/datasets/clicks_lvis.py",
    "../_base_/schedules/clicks_160e_b28.py",
]
runner = dict(type="Interactive", iterations=0)
