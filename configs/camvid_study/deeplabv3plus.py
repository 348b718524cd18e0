"""DeepLabv3+, output stride 16."""

_base_ = ["../_base_/models/deeplabv3plus_efficientnet-lite0.py", "../_base_/datasets/camvid_study.py"]
model = dict(
    backbone=dict(frozen_stages=2),
    head=dict(channels=128),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
]
