"""The search network of Auto-DeepLab at the width F = 8 with 12 layers, as in the paper."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="AutoDeepLabSearch", filters=8, layers=12),
    head=dict(type="AutoDeepLabSearchHead"),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
