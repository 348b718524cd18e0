"""UPerNet on DeiT-S, whose four maps all have stride 16."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="deit_small_patch16_224",
        pretrained=True,
        drop_path_rate=0.1,
        out_indices=(2, 5, 8, 11),
        img_size=(512, 512),
    ),
    head=dict(type="UPerHead"),
    aux=[dict(type="FCNHead", level=-1)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
