"""STAR-M, VOC 15-1: 50 images of earlier steps are replayed beside the features."""

_base_ = "star_voc_15-1.py"
runner = dict(memory=dict(size=50, rule="round_robin", mix="concat", threshold=0.9))
