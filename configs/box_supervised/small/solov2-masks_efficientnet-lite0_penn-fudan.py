"""The small level-set network taught by masks, twenty minutes on two CPU cores: what boxes are compared with."""

_base_ = ["../../_base_/datasets/penn_fudan_instances.py", "../../_base_/box_supervised/solov2_masks.py"]
train = dict(dataset=dict(boxes_only=False))
loop = dict(steps=600, eval_every=300)
