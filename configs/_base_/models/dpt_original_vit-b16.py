"""DPT on ViT-B/16, in the form of the authors and of Hugging Face: a second classifier in training."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_base_patch16_384",
        pretrained=True,
        out_indices=(2, 5, 8, 11),
        append_class_token=True,
        norm_eps=1e-12,
        pos_interpolation="bilinear",
        mean=(127.5,) * 3,
        std=(127.5,) * 3,
    ),
    neck=dict(type="Reassemble"),
    head=dict(type="DPTHead", auxiliary=True),
    align_corners=True,
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="second.logits", target="mask", average="all", weight=0.4),
]
