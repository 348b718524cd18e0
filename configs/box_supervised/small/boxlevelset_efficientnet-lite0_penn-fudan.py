"""Pedestrians' masks from boxes on two CPU cores in three quarters of an hour: a small BoxLevelSet."""

_base_ = ["../../_base_/datasets/penn_fudan_instances.py", "../../_base_/box_supervised/boxlevelset_lite0.py"]
loop = dict(steps=1200, eval_every=300)  # about two seconds each, 4 CPU-seconds
