"""Rows of decoders upon encoders: pyramids, attention on the way up, refinement, large kernels; and VGG's own nets."""

from tests.arch_rows.row import Row

R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=32")

ROWS = {
    "sfnet_r18": Row(12_869_715, 1_544_723, 30.4, small=R18[2:]),
    # On ResNet-101 (resnet101s) the published 50,317,267.
    "sfnet_r50": Row(31_325_139, 7_693_331, 82.9, small=R18),
    "pan_r50": Row(24_265_018, 756_986, 34.7, small=R18),
    "fpn_r50": Row(26_118_355, 1_626_259, small=(*R18, "model.neck.channels=32")),
}
