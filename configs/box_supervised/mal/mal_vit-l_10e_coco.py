"""MAL, ViT-L, COCO: draws masks in boxes, which other networks learn from; it starts from MAE's weights."""

_base_ = [
    "../../_base_/models/mal_vit-b.py",
    "../../_base_/datasets/coco_box_crops.py",
    "../../_base_/schedules/mal_10e.py",
]
model = dict(size="large")
