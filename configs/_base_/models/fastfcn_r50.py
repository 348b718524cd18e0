"""FastFCN: joint pyramid upsampling on a ResNet-50, then EncNet's head."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDilated", name="resnet50c", pretrained=True),
    neck=dict(type="JPU"),
    head=dict(type="EncHead"),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="ClassPresence", on="presence", target="mask", weight=0.2),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
