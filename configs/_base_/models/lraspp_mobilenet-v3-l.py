"""LR-ASPP on MobileNetV3-L at output stride 8, mmsegmentation's form, with its mean and std."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="tf_mobilenetv3_large_100",
        output_stride=8,
        contract_dilation=False,
        pretrained=True,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
    head=dict(type="LRASPPMergeHead"),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
]
