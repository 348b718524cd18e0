"""DeepLabv3+ on ResNet-101 as in f-BRS (table 7), clicks sampled once, no previous mask, trained on SBD."""

_base_ = [
    "../_base_/models/ritm_r101.py",
    "../_base_/datasets/clicks_sbd.py",
    "../_base_/schedules/clicks_sbd_120e_b28.py",
]
runner = dict(type="Interactive", iterations=0)
