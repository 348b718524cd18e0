"""PIDNet-S."""

from segkit.config import ref

class_weight = None  # one number per class, of the three losses of classes
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="PIDNet"),
    head=dict(type="DDRHead", channels=128, dropout=0.1),
    aux=[dict(type="DDRHead", level=-3, channels=128), dict(type="BoundaryHead", level=-2)],
    align_corners=True,
)
_cross_entropy = dict(type="CrossEntropy", class_weight=ref("class_weight"))
_hard = dict(loss=_cross_entropy, threshold=0.9, min_kept=131072)
losses = [
    dict(_cross_entropy, on="aux0.logits", weight=0.4),
    dict(_hard, type="OHEM", on="logits"),
    dict(type="BoundaryBCE", on="aux1.edge", target="mask", width=4, train_ignored=True, average="all", weight=20.0),
    dict(_hard, type="BoundaryOHEM", on=["logits", "aux1.edge"]),
]
