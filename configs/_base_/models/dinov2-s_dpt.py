"""DPT on DINOv2-S, whose patches of 14 pixels become 16; blocks and widths are those of its authors' depth networks."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="vit_small_patch14_dinov2",
        pretrained=True,
        out_indices=(2, 5, 8, 11),
        append_class_token=True,
        img_size=(512, 512),
        options=dict(patch_size=16),
    ),
    neck=dict(type="Reassemble", channels=(48, 96, 192, 384)),
    head=dict(type="DPTHead"),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask", average="all")]
