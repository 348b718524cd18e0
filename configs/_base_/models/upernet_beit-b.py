"""UPerNet on BEiT-B; its tables of relative positions are made for crops of one size."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="beit_base_patch16_224.in22k_ft_in22k",
        pretrained=True,
        drop_path_rate=0.1,
        out_indices=(3, 5, 7, 11),
        img_size=(640, 640),
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
    neck=dict(type="FeatureToPyramid"),
    head=dict(type="UPerHead", channels=768),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
