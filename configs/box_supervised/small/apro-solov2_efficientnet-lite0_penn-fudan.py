"""Pedestrians' masks from boxes on two CPU cores: APro on a small SOLOv2."""

_base_ = ["../../_base_/datasets/penn_fudan_instances.py", "../../_base_/box_supervised/apro_solov2_lite0.py"]
loop = dict(steps=1200, eval_every=300)
