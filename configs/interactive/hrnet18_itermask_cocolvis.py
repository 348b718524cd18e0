"""RITM's hrnet18_cocolvis_itermask_3p: HRNet-18 with OCR, previous mask, up to 3 rounds of clicks (table 7)."""

_base_ = [
    "../_base_/models/ritm_hrnet18.py",
    "../_base_/datasets/clicks_cocolvis.py",
    "../_base_/schedules/clicks_230e_b28.py",
]
runner = dict(type="Interactive", iterations=3)
