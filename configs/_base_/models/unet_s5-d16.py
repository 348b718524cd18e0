"""U-Net S5-D16: five levels, bilinear upsampling, heads on the two finest maps."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="UNet", learned_up=False),
    head=dict(type="FCNHead", channels=64),
    aux=[dict(type="FCNHead", level=-2, channels=64)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
