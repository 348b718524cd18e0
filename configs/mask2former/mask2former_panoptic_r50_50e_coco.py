"""Mask2Former on ResNet-50, COCO panoptic, the authors' setting; published PQ 51.9."""

_base_ = [
    "../_base_/models/mask2former_r50.py",
    "../_base_/datasets/coco_panoptic.py",
    "../_base_/schedules/mask2former_50e.py",
]
losses = [dict(type="Mask2FormerMasks")]
