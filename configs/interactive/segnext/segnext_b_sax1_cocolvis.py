"""SegNext (interactive) on ViT-B, "sax1", COCO+LVIS at 1024 pixels: up to 3 rounds of clicks."""

_base_ = [
    "../../_base_/models/segnext_clicks_b.py",
    "../../_base_/datasets/clicks_cocolvis_1024.py",
    "../../_base_/schedules/clicks_100e_b16.py",
]
model = dict(fusion_depth=1)
runner = dict(type="Interactive", iterations=3)
