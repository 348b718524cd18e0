"""ESPNet with 2 and 8 blocks."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ESPNet"),
    head=dict(type="ESPHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
