"""FocalClick on HRNet-18s, S1: the coarse network sees 128 x 128 pixels."""

_base_ = [
    "../../_base_/models/focalclick_hrnet18s.py",
    "../../_base_/datasets/clicks_focal_cocolvis.py",
    "../../_base_/schedules/focalclick_230e_b32.py",
]
model = dict(reduction=2, radius=2.0)
runner = dict(type="Interactive", iterations=3)
train = dict(batch_size=32)
