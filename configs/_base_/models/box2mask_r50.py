"""Box2Mask-T on a ResNet-50 whose normalizations are not trained."""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(type="TimmDetection", name="resnet50.tv2_in1k", pretrained=True, train_norms=False),
    head=dict(type="Mask2FormerHead", level_features=1),
)
losses = [dict(type="Box2Mask")]
