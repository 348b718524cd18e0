"""PointRend over Semantic FPN on a ResNet-50."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50c", pretrained=True),
    neck=dict(type="FPN"),
    head=dict(type="PointRendHead"),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(
        type="AtPoints",
        loss=dict(type="CrossEntropy", average="all"),
        on=["points.logits", "points.places"],
        target="mask",
    ),
]
