"""CGNet M3N21."""

from segkit.config import ref

class_weight = None  # one number per class
model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="CGNet"),
    head=dict(type="FCNHead", num_convs=0, dropout=0.0),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", class_weight=ref("class_weight"))]
