"""Mask2Former on ResNet-50, ADE20K panoptic, the authors' setting; published PQ 39.7."""

_base_ = [
    "../_base_/models/mask2former_r50.py",
    "../_base_/datasets/ade20k_panoptic_640.py",
    "../_base_/schedules/mask2former_160k.py",
]
losses = [dict(type="Mask2FormerMasks")]
