"""STAR-Basic: as STAR; old classes are replayed from the directions of their prototypes, without stored lengths."""

_base_ = "star.py"
runner = dict(replay="directions")
