"""Pedestrians' masks from boxes on two CPU cores in an hour: a small Box2Mask-T."""

_base_ = ["../../_base_/datasets/penn_fudan_instances.py", "../../_base_/box_supervised/box2mask_lite0.py"]
loop = dict(steps=1200, eval_every=300)
