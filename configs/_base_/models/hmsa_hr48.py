"""Hierarchical multi-scale attention (HMSA) on OCRNet with HRNet-W48: trained at two scales, tested at three."""

from segkit.config import ref

_sigmoids = dict(type="BinaryCrossEntropy", target="mask", sum_classes=True, extra_pixels=1)
model = dict(
    type="HierarchicalSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(type="HRNet", width=48, fuse_upsample="bilinear_size", pretrained=True),
    head=dict(
        type="OCRHead",
        levels=(-4, -3, -2, -1),
        coarse_levels=(-4, -3, -2, -1),
        coarse_channels=720,
        coarse_kernel=1,
        dropout=0.05,
        coarse_dropout=0.0,
        conv_bias=True,
    ),
    train_scales=(0.5, 1.0),
    test_scales=(0.5, 1.0, 2.0),
)
losses = [
    dict(type="RMI", on="logits", target="mask", extra_pixels=1),
    dict(_sigmoids, on="coarse.logits", weight=0.4),
    dict(_sigmoids, on="scale?.resized.logits", weight=0.05),
]
