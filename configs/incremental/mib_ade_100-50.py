"""MiB, ADE20K 100-50; runner.lists takes the folder of the published lists of images."""

_base_ = [
    "../_base_/incremental/mib_net.py",
    "../_base_/datasets/ade20k_incremental.py",
    "../_base_/incremental/mib.py",
    "../_base_/schedules/mib_60e.py",
]
task, setting = "ade_100-50", "balanced"
