"""MiB, VOC 15-5: the background and 15 classes, then 5 at once."""

_base_ = [
    "../_base_/incremental/mib_net.py",
    "../_base_/datasets/voc_incremental.py",
    "../_base_/incremental/mib.py",
    "../_base_/schedules/mib_30e.py",
]
