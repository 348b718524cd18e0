"""Clicks sampled once, no previous mask: HRNet-18 with OCR, trained on ADE20K (table 3)."""

_base_ = [
    "../_base_/models/ritm_hrnet18.py",
    "../_base_/datasets/clicks_ade20k.py",
    "../_base_/schedules/clicks_120e_b28.py",
]
model = dict(previous_mask=False)
runner = dict(type="Interactive", iterations=0)
