"""Rows of Gated-SCNN."""

from tests.arch_rows.row import Row

NARROW = ("model.head.channels=16", "model.head.low_channels=8")

ROWS = {
    # The authors' code has 137,278,190, of which 65 belong to a side map of the first convolution that nothing reads.
    # 1,509.7 GMAC are published for 512 x 1024 pixels without the 1x1 convolutions of the gates, 0.7 more.
    "gscnn_wrn38": Row(
        137_278_190 - 65,
        32_215_470 - 65,
        1_509.726 / 2,
        small=("model.backbone.width=4", *NARROW),
        sizes=((65, 97), (64, 80)),
    ),
    "gscnn_r50": Row(
        40_523_949, 17_015_917, small=("model.backbone.name='resnet18'", "model.backbone.pretrained=None", *NARROW)
    ),
}
