"""STAR-Lite, VOC 15-1: as STAR-Basic; the directions of old classes are found in their classifier and in new images."""

_base_ = "star-basic_voc_15-1.py"
runner = dict(replay="inverted")
