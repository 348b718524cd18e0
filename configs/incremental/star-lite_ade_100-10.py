"""STAR-Lite, ADE20K 100-10: the recipe of STAR."""

_base_ = "star_ade_100-10.py"
runner = dict(replay="class_inverted")
