"""ICNet on a dilated ResNet-50."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ICNet", pretrained=True),
    neck=dict(type="ICNeck"),
    head=dict(type="FCNHead", channels=128, dropout=0.0),
    aux=[dict(type="FCNHead", level=-3, channels=128), dict(type="FCNHead", level=-2, channels=128)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux*.logits", target="mask", average="all", weight=0.4),
]
