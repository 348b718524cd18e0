"""DeepLab-LargeFOV (DeepLab v1) on VGG-16, losses on labels of the scores' size."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="VGG16Dilated", pretrained=True),
    head=dict(type="LargeFOVHead"),
    align_corners=True,
)
losses = [
    dict(
        type="OnCoarseLabels",
        loss=dict(type="CrossEntropy"),
        on="logits",
        target="mask",
        at="native",
        align_corners=ref("model.align_corners"),
    )
]
