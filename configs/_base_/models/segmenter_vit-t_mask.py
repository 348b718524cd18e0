"""Segmenter on ViT-T/16 with the mask transformer."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_tiny_patch16_384",
        pretrained=True,
        out_indices=(11,),
        img_size=(512, 512),
        drop_path_rate=0.1,
        final_norm=True,
    ),
    head=dict(type="SegmenterHead", heads=3, drop_path_rate=0.1),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
