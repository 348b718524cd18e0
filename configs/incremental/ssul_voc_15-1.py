"""SSUL, VOC 15-1, without saliency maps: all of the background is unknown."""

from segkit.config import ref

_base_ = [
    "../_base_/incremental/ssul_net.py",
    "../_base_/datasets/voc_incremental.py",
    "../_base_/incremental/ssul.py",
    "../_base_/schedules/mib_30e.py",
]
task, crop_size = "voc_15-1", (513, 513)
train = dict(
    batch_size=32,
    transforms=[dict(type="RandomScaleCrop", low=0.5, high=2.0, size=ref("crop_size")), dict(type="Flip")],
)
optimizer = dict(groups=[dict(match=r"^backbone", lr=0.1)])
schedule = dict(floor=1e-6)
loop = dict(epochs=50)
runner = dict(later=dict(optimizer=dict(lr=0.01, groups=[dict(match=r"classifier\.background\.", lr=1e-4)])))
