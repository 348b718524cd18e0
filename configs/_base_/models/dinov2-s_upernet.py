"""UPerNet on DINOv2-S, whose patches of 14 pixels become 16; four blocks behind the final normalization."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_small_patch14_dinov2",
        pretrained=True,
        out_indices=(2, 5, 8, 11),
        final_norm=True,
        img_size=(512, 512),
        options=dict(patch_size=16),
    ),
    neck=dict(type="MultiLevelNeck"),
    head=dict(type="UPerHead"),
    aux=[dict(type="FCNHead", level=-1)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
