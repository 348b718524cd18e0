"""BoxTeacher: CondInst on a ResNet-50 as AdelaiDet builds it, which finds masks as labels for itself.

The published network reads weights whose bottlenecks halve the map in their first convolution, and images of standard
deviation 1. timm has no such weights of ImageNet: configs that train begin from torchvision's, with the stride and the
normalization that belong to those.
"""

from segkit.config import ref

model = dict(
    num_classes=ref("num_classes"),
    backbone=dict(
        type="TimmDetection",
        name="resnet50.tv_in1k",
        pretrained=None,
        frozen_stages=2,
        train_norms=False,
        stride_in_first=True,
        mean=(123.675, 116.28, 103.53),
        std=(1.0, 1.0, 1.0),
    ),
    neck=dict(type="FPN", num_levels=3, extra_levels=2, extra_convs=True),
    head=dict(
        type="CondInstHead",
        tower_bias=True,
        centerness_of_boxes=True,
        root_scores=True,
        keep_ties=True,
        rescore=True,
        candidates=1000,
        iou=0.6,
        limit=100,
    ),
)
losses = [
    dict(type="FCOS", plus_one=True),
    dict(type="BoxInst", target=["clean", "boxes", "meta"]),
    dict(type="NoisyMasks"),
]
