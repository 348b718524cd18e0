"""Auto-DeepLab-S, the network that the paper's search found, at the width F = 20; trained from random weights."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="AutoDeepLab", genotype=None, filters=20),
    head=dict(type="AutoDeepLabHead", fuse_dropout=0.1),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
