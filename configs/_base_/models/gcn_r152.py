"""GCN on a ResNet-152, kernels of 7 cells."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet152", pretrained=True),
    head=dict(type="GCNHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
