"""DeepLabv3+ on MobileNetV2 at output stride 8, where the first block of a stage alone is dilated."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="TimmDilated",
        name="mobilenetv2_100",
        output_stride=8,
        dilations=((2, 1, 1, 1, 2, 1, 1), (4, 1, 1, 4)),
        pretrained=True,
    ),
    head=dict(type="DeepLabV3PlusHead"),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
