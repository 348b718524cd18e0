"""UPerNet on Swin-T."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmSwin", name="swin_tiny_patch4_window7_224", pretrained=True, drop_path_rate=0.3),
    head=dict(type="UPerHead"),
    aux=[dict(type="FCNHead", level=-2)],
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask", average="all"),
    dict(type="CrossEntropy", on="aux0.logits", target="mask", average="all", weight=0.4),
]
