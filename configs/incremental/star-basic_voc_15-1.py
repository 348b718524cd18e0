"""STAR-Basic, VOC 15-1: 60 epochs a step."""

_base_ = ["../_base_/datasets/voc_incremental.py", "../_base_/incremental/star_basic.py"]
task = "voc_15-1"
