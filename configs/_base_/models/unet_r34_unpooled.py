"""U-Net on a ResNet-34 with a dilated convolution instead of max pooling."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmUnpooled", name="resnet34", pretrained=True),
    head=dict(type="UNetHead", channels=(256, 128, 64, 32)),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
