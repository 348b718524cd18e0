"""Clicks sampled once, no previous mask: DeepLabv3+ on ResNet-34, trained on ADE20K (table 3)."""

_base_ = [
    "../_base_/models/ritm_r34.py",
    "../_base_/datasets/clicks_ade20k.py",
    "../_base_/schedules/clicks_120e_b28.py",
]
runner = dict(type="Interactive", iterations=0)
