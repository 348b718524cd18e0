"""Semantic FPN on Twins-PCPVT-S."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="twins_pcpvt_small", pretrained=True, drop_path_rate=0.2, norm_eps=1e-5),
    neck=dict(type="FPN"),
    head=dict(type="SemFPNHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
