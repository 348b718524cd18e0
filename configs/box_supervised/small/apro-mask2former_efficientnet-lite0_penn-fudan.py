"""Pedestrians' masks from boxes on two CPU cores: APro on a small Mask2Former."""

_base_ = ["../../_base_/datasets/penn_fudan_instances.py", "../../_base_/box_supervised/apro_mask2former_lite0.py"]
loop = dict(steps=1200, eval_every=300)
