"""Mask2Former on ResNet-50, Cityscapes panoptic, the authors' setting; published PQ 62.1."""

_base_ = [
    "../_base_/models/mask2former_r50.py",
    "../_base_/datasets/cityscapes_panoptic.py",
    "../_base_/schedules/mask2former_160k.py",
]
losses = [dict(type="Mask2FormerMasks")]
loop = dict(steps=90000)
