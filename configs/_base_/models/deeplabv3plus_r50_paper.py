"""DeepLabv3+ with the paper's head on a ResNet-50 (the paper has a modified Xception): output stride 16, 256
channels."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="resnet50c", output_stride=16, pretrained=True),
    head=dict(type="DeepLabV3PlusHead", rates=(6, 12, 18), channels=256, fuse_kernel=1),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
