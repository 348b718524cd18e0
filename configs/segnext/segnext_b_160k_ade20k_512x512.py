"""SegNeXt-B, ADE20K, mmsegmentation's setting; published mIoU 48.03."""

_base_ = ["../_base_/models/segnext_t.py", "../_base_/datasets/ade20k.py", "../_base_/schedules/segnext_160k.py"]
model = dict(backbone=dict(channels=(64, 128, 320, 512), depths=(3, 3, 12, 3)), head=dict(channels=512))
