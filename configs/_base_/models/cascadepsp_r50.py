"""CascadePSP on ResNet-50 at output stride 8: six masks of three passes, with the published weights of their terms."""

from segkit.config import ref

model = dict(
    type="CascadeSegmentor",
    num_classes=ref("num_classes"),
    # unlike in DeepLab the first block of both dilated stages has dilation 1
    backbone=dict(
        type="TimmRawStem",
        name="resnet50",
        dilations=((1, 2, 2, 2, 2, 2), (1, 4, 4)),
        pretrained=True,
    ),
    head=dict(type="CascadePSPHead"),
)
losses = [
    dict(type="MaskDistance", on="logits", target="mask", bce=0.0, l1=1.0, l2=1.0),
    dict(type="SobelL1", on="logits", target="mask", weight=5.0),
    dict(type="MaskDistance", on="pass?.os8.logits", target="mask"),
    dict(type="MaskDistance", on="pass?.os4.logits", target="mask", bce=0.5, l1=0.25, l2=0.25),
]
runner = dict(type="MaskRefinement")
