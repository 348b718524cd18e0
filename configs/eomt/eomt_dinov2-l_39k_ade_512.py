"""EoMT on DINOv2-L, ADE20K at 512, the authors' setting: 31 epochs of batches of 16; published mIoU 58.4."""

_base_ = [
    "../_base_/models/eomt_dinov2-l.py",
    "../_base_/datasets/ade20k_covering.py",
    "../_base_/schedules/eomt_39k.py",
]
model = dict(head=dict(starts=(6520, 13040, 19560, 26080), ends=(13040, 19560, 26080, 32600)))
