"""DPT on ViT-B/16, in the form of segmentation_models."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_base_patch16_224",
        pretrained=True,
        out_indices=(2, 5, 8, 11),
        append_class_token=True,
        pos_antialias=True,
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
    ),
    neck=dict(type="Reassemble", channels=(256, 512, 1024, 1024)),
    head=dict(type="DPTHead", two_units_first=True),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
