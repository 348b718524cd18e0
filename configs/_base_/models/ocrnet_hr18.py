"""OCRNet on HRNet of width 18; at width 48 coarse_channels is 720."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="HRNet", width=18, pretrained=True),
    head=dict(
        type="OCRHead",
        levels=(-4, -3, -2, -1),
        coarse_levels=(-4, -3, -2, -1),
        coarse_channels=270,
        coarse_kernel=1,
        dropout=0.0,
    ),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="coarse.logits", target="mask", average="all", weight=0.4),
]
