"""SegFormer-B0, Cityscapes, mmsegmentation's setting; published mIoU 76.54, with scales and flips 78.22."""

_base_ = [
    "../_base_/models/segformer_mit-b0.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/segformer_160k.py",
]
crop_size = (1024, 1024)
inference = dict(mode="slide", crop=(1024, 1024), stride=(768, 768))
