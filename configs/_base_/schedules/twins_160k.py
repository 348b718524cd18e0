"""The schedule of Twins in mmsegmentation: no decay of layer normalizations."""

_base_ = "adamw_160k.py"
optimizer = dict(groups=[dict(match=r"^backbone\..*norm", decay=0.0)])
