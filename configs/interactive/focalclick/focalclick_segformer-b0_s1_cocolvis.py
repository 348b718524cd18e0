"""FocalClick on SegFormer-B0, S1: the coarse network sees 128 x 128 pixels."""

_base_ = [
    "../../_base_/models/focalclick_segformer-b0.py",
    "../../_base_/datasets/clicks_focal_cocolvis.py",
    "../../_base_/schedules/focalclick_230e_b28.py",
]
model = dict(reduction=2, radius=3.0)
runner = dict(type="Interactive", iterations=3)
train = dict(batch_size=28)
