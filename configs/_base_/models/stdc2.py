"""STDC2: STDC1 with twice as many blocks."""

_base_ = ["stdc1.py"]
model = dict(backbone=dict(blocks=(4, 5, 3)))
