"""Dynamic Routing with 16 layers, without a budget."""

from segkit.config import ref

model = dict(
    type="RoutedSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="DynamicRouting", layers=16),
    head=dict(type="DynamicRoutingHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
inference = dict(pad_divisor=32)
