"""ExFuse on a ResNet-101."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet101", pretrained=True),
    head=dict(type="ExFuseHead"),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="CrossEntropy", on="coarse.logits", target="mask", weight=0.4),
]
