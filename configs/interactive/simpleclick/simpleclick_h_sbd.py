"""SimpleClick on ViT-H, SBD: previous mask, up to 3 rounds of clicks."""

_base_ = [
    "../../_base_/models/simpleclick_h.py",
    "../../_base_/datasets/clicks_sbd_448.py",
    "../../_base_/schedules/clicks_sbd_55e_b32.py",
]
runner = dict(type="Interactive", iterations=3)
