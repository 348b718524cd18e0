"""SETR with multi-level aggregation on ViT-L/16, which has no class token here."""

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
        out_indices=(5, 11, 17, 23),
        options=dict(class_token=False, global_pool="avg"),
    ),
    neck=dict(type="MLANeck"),
    head=dict(type="SETRMLAHead"),
    aux=[dict(type="FCNHead", level=level, num_convs=0, dropout=0.0) for level in (-4, -3, -2, -1)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux*.logits", target="mask", average="all", weight=0.4),
]
