"""SSUL, ADE20K 100-10: 100 epochs; the first step has VOC's rates, as in the authors' code."""

from segkit.config import ref

_base_ = [
    "../_base_/incremental/ssul_net.py",
    "../_base_/datasets/ade20k_incremental.py",
    "../_base_/incremental/ssul.py",
    "../_base_/schedules/mib_60e.py",
]
task, crop_size = "ade_100-10", (513, 513)
train = dict(transforms=[dict(type="RandomScaleCrop", low=0.5, high=2.0, size=ref("crop_size")), dict(type="Flip")])
optimizer = dict(lr=0.01, groups=[dict(match=r"^backbone", lr=0.1)])
schedule = dict(warmup=dict(steps=0.1, factor=0.001))
loop = dict(epochs=100)
runner = dict(later=dict(optimizer=dict(lr=0.05, groups=[dict(match=r"classifier\.background\.", lr=1e-4)])))
