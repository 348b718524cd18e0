"""Box2Mask-T on Swin-L."""

_base_ = ["box2mask_swin_t.py"]
model = dict(backbone=dict(name="swin_large_patch4_window12_384.ms_in22k"))
