"""SimpleClick on xTiny, COCO+LVIS: previous mask, up to 3 rounds of clicks."""

_base_ = [
    "../../_base_/models/simpleclick_xt.py",
    "../../_base_/datasets/clicks_cocolvis_448.py",
    "../../_base_/schedules/clicks_230e_b32_once.py",
]
runner = dict(type="Interactive", iterations=3)
