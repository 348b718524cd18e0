"""Mask2Former's losses of masks for the small transformer; its masks of some thousand pixels need no sampled points."""

_base_ = "box2mask_lite0.py"
model = dict(head=dict(level_features=0))
losses = [dict(type="Mask2FormerMasks", points=0)]
