"""SegNeXt-T, ADE20K, mmsegmentation's setting; published mIoU 41.50."""

_base_ = ["../_base_/models/segnext_t.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/segnext_160k.py"]
