"""The network of STAR, without an output for the background: torchvision's DeepLabv3 on ResNet-101, stride 16."""

from segkit.config import ref

model = dict(
    type="GrowingSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet101", output_stride=16, pretrained=True, norm_momentum=0.01),
    head=dict(
        type="DeepLabV3Head",
        channels=256,
        rates=(6, 12, 18),
        fuse_kernel=1,
        fuse_dropout=0.1,
        num_convs=1,
        dropout=0.0,
    ),
    readout="implicit",
)
losses = [dict(type="NewClassBCE", on="logits", target="mask")]
