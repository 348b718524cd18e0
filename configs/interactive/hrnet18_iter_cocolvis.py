"""Iterative training without the previous mask (table 6): HRNet-18 with OCR, up to 3 rounds of clicks."""

_base_ = [
    "../_base_/models/ritm_hrnet18.py",
    "../_base_/datasets/clicks_cocolvis.py",
    "../_base_/schedules/clicks_230e_b28.py",
]
model = dict(previous_mask=False)
runner = dict(type="Interactive", iterations=3)
