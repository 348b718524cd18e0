"""UPerNet on ConvNeXt-T."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm", name="convnext_tiny.fb_in1k", pretrained=True, drop_path_rate=0.4, norm_levels=(-4, -3, -2, -1)
    ),
    head=dict(type="UPerHead"),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
