"""FocalClick on SegFormer-B3, whose head has twice the channels."""

_base_ = "focalclick_segformer-b0.py"
model = dict(backbone=dict(name="mit_b3"), head=dict(channels=512))
