"""The U-Net of the paper with padding and batch normalization."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="UNet"),
    head=dict(type="FCNHead", num_convs=0, dropout=0.0),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
