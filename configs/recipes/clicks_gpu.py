"""Masks from clicks on a GPU: RITM on HRNet-W18, the previous mask, up to three rounds of clicks."""

_base_ = ["../_base_/models/ritm_hrnet18.py", "../_base_/datasets/labelled_clicks.py"]
crop_size = (320, 480)
runner = dict(type="Interactive", iterations=3)
schedule = dict(type="OneCycle", rise=0.15)
loop = dict(steps=20000, amp="auto", ema=0.999, log_every=50, save_every=500, monitor="NoC@90", better="lower")
