"""FCN-8s on VGG-16, the net of the paper."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="VGG16", padding=100, pretrained=True),
    head=dict(type="FCNSkipHead", num_skips=2),
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
