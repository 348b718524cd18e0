"""MA-Net on a ResNet-34 encoder, in the form of segmentation_models."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet34", pretrained=True),
    head=dict(type="MANetHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
