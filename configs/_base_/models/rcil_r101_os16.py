"""The network of RCIL: that of MiB with a second branch of each 3x3 convolution and of the head's pyramid.

model.backbone.pretrained takes the published ImageNet weights, a file resnet101_iabn_sync.pth.tar, for both branches.
"""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TwoBranchABNResNet", depth=101, output_stride=16),
    head=dict(type="TwoBranchMiBDeepLabHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
