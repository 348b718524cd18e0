"""DINOv2-S with a linear head on its last block; the schedule linear_40k freezes the encoder."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="Timm", name="vit_small_patch14_dinov2", pretrained=True, out_indices=(11,), final_norm=True),
    head=dict(type="LinearHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
