"""SegNeXt-T."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="MSCAN", channels=(32, 64, 160, 256), depths=(3, 3, 5, 2)),
    head=dict(type="LightHamHead", channels=256),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
