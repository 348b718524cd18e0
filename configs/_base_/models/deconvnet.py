"""DeconvNet, for crops of 224 x 224."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="DeconvNet"),
    head=dict(type="FCNHead", num_convs=0, dropout=0.0),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
