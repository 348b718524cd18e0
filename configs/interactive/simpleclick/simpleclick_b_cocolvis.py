"""SimpleClick on ViT-B, COCO+LVIS: previous mask, up to 3 rounds of clicks."""

_base_ = [
    "../../_base_/models/simpleclick_b.py",
    "../../_base_/datasets/clicks_cocolvis_448.py",
    "../../_base_/schedules/clicks_55e_b32.py",
]
runner = dict(type="Interactive", iterations=3)
