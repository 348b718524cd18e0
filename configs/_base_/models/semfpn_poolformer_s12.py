"""Semantic FPN on PoolFormer-S12."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="poolformer_s12", norm_levels=(-4, -3, -2, -1), norm_groups=1, pretrained=True),
    neck=dict(type="FPN"),
    head=dict(type="SemFPNHead"),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
]
