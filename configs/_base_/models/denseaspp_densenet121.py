"""DenseASPP on DenseNet-121; mean and standard deviation are the authors', of Cityscapes."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="TimmDenseNet",
        name="densenet121",
        mean=(73.975755, 83.660655, 73.17582),
        std=(46.65327, 47.57433, 47.041125),
        pretrained=True,
    ),
    head=dict(type="DenseASPPHead"),
    align_corners=True,
)
losses = [dict(type="CrossEntropy", on="logits", target="mask")]
