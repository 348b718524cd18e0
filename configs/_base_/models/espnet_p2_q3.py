"""ESPNet with 2 and 3 blocks, as its released weights have it."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ESPNet", blocks=(2, 3), image_in_first=False),
    head=dict(type="ESPHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
