"""HRNet of width 18, its four maps joined and classified; at width 48 channels is 720."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="HRNet", width=18, pretrained=True),
    head=dict(type="FCNHead", level=(-4, -3, -2, -1), channels=270, kernel=1, dropout=0.0),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
