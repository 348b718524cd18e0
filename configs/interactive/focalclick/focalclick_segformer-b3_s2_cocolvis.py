"""FocalClick on SegFormer-B3, S2: the coarse network sees 256 x 256 pixels."""

_base_ = [
    "../../_base_/models/focalclick_segformer-b3.py",
    "../../_base_/datasets/clicks_focal_color_cocolvis.py",
    "../../_base_/schedules/focalclick_230e_b28.py",
]
runner = dict(type="Interactive", iterations=3)
train = dict(batch_size=28)
