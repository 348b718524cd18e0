"""LR-ASPP on MobileNetV3-L at output stride 16, torchvision's form."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TorchvisionMobileNetV3", pretrained=True),
    head=dict(type="LRASPPHead"),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
]
