"""SETR with naive upsampling on ViT-L/16."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_large_patch16_224",
        pretrained=True,
        img_size=(512, 512),
        pos_interpolation="bilinear",
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
        out_indices=(9, 14, 19, 23),
    ),
    head=dict(type="SETRHead", num_convs=1, kernel=1, scale=4),
    aux=[dict(type="SETRHead", level=level, num_convs=2, kernel=1, scale=4) for level in (-4, -3, -2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux*.logits", target="mask", average="all", weight=0.4),
]
