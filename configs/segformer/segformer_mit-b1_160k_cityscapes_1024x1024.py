"""SegFormer-B1, Cityscapes, mmsegmentation's setting; published mIoU 78.56, with scales and flips 79.73."""

_base_ = [
    "../_base_/models/segformer_mit-b0.py",
    "../_base_/datasets/cityscapes.py",
    "../_base_/schedules/segformer_160k.py",
]
model = dict(backbone=dict(name="mit_b1"))
crop_size = (1024, 1024)
inference = dict(mode="slide", crop=(1024, 1024), stride=(768, 768))
