"""Comparison of losses (table 2): HRNet-18 with OCR, no previous mask, the normalized focal loss."""

_base_ = [
    "../_base_/models/ritm_hrnet18.py",
    "../_base_/datasets/clicks_cocolvis.py",
    "../_base_/schedules/clicks_160e_b28.py",
]
model = dict(previous_mask=False)
runner = dict(type="Interactive", iterations=0)
min_area, keep_background = 80, 0.0
