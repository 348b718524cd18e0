"""BiSeNet on ResNet-18 with two auxiliary heads."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="BiSeNet", encoder="resnet18", pretrained=True),
    head=dict(type="FCNHead", channels=256),
    aux=[dict(type="FCNHead", level=-2, channels=64), dict(type="FCNHead", level=-3, channels=64)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux*.logits", target="mask", average="all"),
]
