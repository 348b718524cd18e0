"""EfficientViT-B0 with its segmentation head."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="efficientvit_b0", pretrained=True),
    head=dict(type="EfficientViTHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
