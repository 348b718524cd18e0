"""Cityscapes panoptic as Mask2Former reads it: 8 things and 11 classes of stuff, crops of 512 x 1024 pixels."""

_base_ = "cityscapes_short_sides.py"
runner = dict(type="Panoptic", things=tuple(range(11, 19)))
train = dict(dataset=dict(type="CityscapesPanoptic", root=None, split="train", filtered=True))
val = dict(dataset=dict(type="CityscapesPanoptic", root=None, split="val"))
test = dict(dataset=dict(type="CityscapesPanoptic", root=None, split="val"))
metrics = [dict(type="PQ")]
