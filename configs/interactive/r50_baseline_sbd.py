"""DeepLabv3+ on ResNet-50 as in f-BRS (table 4), clicks sampled once, no previous mask, trained on SBD."""

_base_ = [
    "../_base_/models/ritm_r50.py",
    "../_base_/datasets/clicks_sbd.py",
    "../_base_/schedules/clicks_sbd_120e_b28.py",
]
runner = dict(type="Interactive", iterations=0)
