"""DeepLabv3 on MobileViT-S at output stride 16, without dilation."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="TimmDilated",
        name="mobilevit_s",
        output_stride=16,
        dilations=((1, 1),),
        options=dict(num_features=0),
        pretrained=True,
    ),
    head=dict(type="DeepLabV3Head", channels=256, rates=(6, 12, 18), fuse_kernel=1, fuse_dropout=0.1),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
]
