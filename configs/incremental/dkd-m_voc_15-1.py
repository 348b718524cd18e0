"""DKD-M, VOC 15-1: 100 images of earlier steps are replayed."""

_base_ = "dkd_voc_15-1.py"
runner = dict(memory=dict(size=100, rule="round_robin", mix="concat", threshold=0.9))
