"""UPerNet on ViT-B/16, with a final normalization and a multi-level neck."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_base_patch16_224",
        pretrained=True,
        drop_path_rate=0.1,
        out_indices=(2, 5, 8, 11),
        img_size=(512, 512),
        norm_levels=(-1,),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
    neck=dict(type="MultiLevelNeck"),
    head=dict(type="UPerHead"),
    aux=[dict(type="FCNHead", level=-1)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
