"""DPT on ViT-B/16, in the form of mmsegmentation."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_base_patch16_224",
        pretrained=True,
        out_indices=(2, 5, 8, 11),
        append_class_token=True,
        norm_eps=1e-5,
        mean=(123.675, 116.28, 103.53),
        std=(58.395, 57.12, 57.375),
    ),
    neck=dict(type="Reassemble"),
    head=dict(type="DPTHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
