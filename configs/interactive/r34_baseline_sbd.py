"""Clicks sampled once, no previous mask: DeepLabv3+ on ResNet-34, trained on SBD (table 3)."""

_base_ = [
    "../_base_/models/ritm_r34.py",
    "../_base_/datasets/clicks_sbd.py",
    "../_base_/schedules/clicks_sbd_120e_b28.py",
]
runner = dict(type="Interactive", iterations=0)
