"""The U-Net of the paper: no normalization, convolutions without padding, the image continued by its mirror image."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="UNet", padding="mirror", norm=False, dropout=0.5),
    head=dict(type="FCNHead", num_convs=0, dropout=0.0),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
