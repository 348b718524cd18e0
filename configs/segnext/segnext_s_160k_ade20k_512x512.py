"""SegNeXt-S, ADE20K, mmsegmentation's setting; published mIoU 44.16."""

_base_ = ["../_base_/models/segnext_t.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/segnext_160k.py"]
model = dict(backbone=dict(channels=(64, 128, 320, 512), depths=(2, 2, 4, 2)))
