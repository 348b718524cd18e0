"""The network of MiB: ResNet-101 with activated batch normalization, output stride 16, and its own DeepLabv3 head.

model.backbone.pretrained takes the published ImageNet weights, a file resnet101_iabn_sync.pth.tar.
"""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="ABNResNet", depth=101, output_stride=16),
    head=dict(type="MiBDeepLabHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
