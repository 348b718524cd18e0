"""BoxLevelSet on a ResNet-101 with deformable convolutions, which the head has as well."""

_base_ = ["boxlevelset_r50.py"]
model = dict(
    backbone=dict(name="resnet101.tv2_in1k", deformable_stages=3),
    head=dict(deformable=True, mask_threshold=0.45),
)
