"""The schedule of Swin in mmsegmentation: no decay of layer normalizations and relative positions."""

_base_ = "adamw_160k.py"
optimizer = dict(groups=[dict(match=r"norm|relative_position_bias_table", decay=0.0)])
