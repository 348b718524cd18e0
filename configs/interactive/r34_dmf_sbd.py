"""Comparison of inputs (table 1): DeepLabv3+ on ResNet-34, clicks fused with the image, disks."""

_base_ = [
    "../_base_/models/ritm_r34.py",
    "../_base_/datasets/clicks_sbd.py",
    "../_base_/schedules/clicks_sbd_120e_b28.py",
]
model = dict(previous_mask=False, scheme="DMF")
runner = dict(type="Interactive", iterations=0)
