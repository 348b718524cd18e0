"""The schedule of BEiT and MAE in mmsegmentation: rates that fall towards the image, no decay of vectors."""

_base_ = "adamw_160k.py"
optimizer = dict(lr=3e-5, weight_decay=0.05, layer_decay=dict(rate=0.9), groups=[dict(kind="vector", decay=0.0)])
