"""DeepLabv3+ as in the paper: its modified Xception-65, output stride 16, 256 channels."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="xception65.tf_in1k", output_stride=16, pretrained=True),
    head=dict(type="DeepLabV3PlusHead", rates=(6, 12, 18), channels=256, fuse_kernel=1),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
