"""Mask2Former for semantic segmentation on a ResNet-50 whose normalizations are not trained."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDetection", name="resnet50.tv_in1k", pretrained=True, train_norms=False),
    head=dict(type="Mask2FormerHead"),
)
losses = [dict(type="Mask2FormerSemantic")]
# the image is padded after the normalization
inference = dict(pad_divisor=32)
