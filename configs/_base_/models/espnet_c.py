"""ESPNet-C: the encoder of ESPNet, classified at stride 8."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ESPNet"),
    head=dict(type="ESPCHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
