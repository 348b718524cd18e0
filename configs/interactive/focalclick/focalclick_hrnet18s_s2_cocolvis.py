"""FocalClick on HRNet-18s, S2: the coarse network sees 256 x 256 pixels."""

_base_ = [
    "../../_base_/models/focalclick_hrnet18s.py",
    "../../_base_/datasets/clicks_focal_cocolvis.py",
    "../../_base_/schedules/focalclick_230e_b32.py",
]
runner = dict(type="Interactive", iterations=3)
train = dict(batch_size=32)
