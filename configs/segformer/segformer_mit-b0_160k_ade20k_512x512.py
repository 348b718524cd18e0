"""SegFormer-B0, ADE20K, mmsegmentation's setting; published mIoU 37.41, with scales and flips 38.34."""

_base_ = [
    "../_base_/models/segformer_mit-b0.py",
    "../_base_/datasets/ade20k.py",
    "../_base_/schedules/segformer_160k.py",
]
