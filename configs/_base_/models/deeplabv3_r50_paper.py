"""DeepLabv3 in the paper's form: output stride 16, multi-grid (1, 2, 4), 256 channels."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDilated", name="resnet50c", output_stride=16, dilations=((2, 4, 8),), pretrained=True),
    head=dict(type="DeepLabV3Head", rates=(6, 12, 18), channels=256, fuse_kernel=1),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
