"""SegFormer-B4, ADE20K, mmsegmentation's setting; published mIoU 48.46, with scales and flips 49.76."""

_base_ = [
    "../_base_/models/segformer_mit-b0.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segformer_160k.py",
]
model = dict(backbone=dict(name="mit_b4"))
