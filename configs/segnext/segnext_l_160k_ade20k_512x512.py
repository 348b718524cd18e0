"""SegNeXt-L, ADE20K, mmsegmentation's setting; published mIoU 50.99."""

_base_ = ["../_base_/models/segnext_t.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/segnext_160k.py"]
model = dict(
    backbone=dict(channels=(64, 128, 320, 512), depths=(3, 5, 27, 3), drop_path_rate=0.3), head=dict(channels=1024)
)
