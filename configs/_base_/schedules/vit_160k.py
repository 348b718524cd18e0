"""The schedule of Vision Transformers in mmsegmentation: no decay of tokens and positions.

Layer normalizations decay: there they are named ln1, which the published pattern "norm" does not find.
"""

_base_ = "adamw_160k.py"
optimizer = dict(groups=[dict(match=r"(pos_embed|cls_token)$", decay=0.0)])
