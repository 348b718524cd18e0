"""All labels of CamVid in 400 steps, to compare self-training on an eighth with."""

_base_ = ["camvid_eighth_supervised.py"]
train = dict(dataset=dict(type="CamVid", root=None, split="train"))
