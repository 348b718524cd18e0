"""MaskFormer on Swin-T."""

_base_ = ["maskformer_r50.py"]
model = dict(
    backbone=dict(type="TimmSwin", name="swin_tiny_patch4_window7_224.ms_in1k", pretrained=True, drop_path_rate=0.3),
)
