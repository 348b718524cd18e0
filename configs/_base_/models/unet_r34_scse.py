"""U-Net on a ResNet-34 encoder with channel and position gates in every block."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet34", pretrained=True),
    head=dict(type="UNetHead", attention="scse"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
