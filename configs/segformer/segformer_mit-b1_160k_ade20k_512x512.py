"""SegFormer-B1, ADE20K, mmsegmentation's setting; published mIoU 40.97, with scales and flips 42.54."""

_base_ = [
    "../_base_/models/segformer_mit-b0.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segformer_160k.py",
]
model = dict(backbone=dict(name="mit_b1"))
