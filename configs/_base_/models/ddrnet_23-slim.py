"""DDRNet-23-slim."""

from segkit.config import ref

class_weight = None  # one number per class, of both losses
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="DDRNet"),
    head=dict(type="DDRHead"),
    aux=[dict(type="DDRHead", level=-2)],
)
_hard = dict(
    type="OHEM",
    loss=dict(type="CrossEntropy", class_weight=ref("class_weight")),
    threshold=0.9,
    min_kept=131072,
)
losses = [dict(_hard, on="logits"), dict(_hard, on="aux0.logits", weight=0.4)]
