"""Rows of EoMT: parameters of the authors' networks at 512 x 512; the multiplications are those of a test."""

from tests.arch_rows.row import Row

SMALL = (
    "model.backbone.name='test_vit3'",
    "model.backbone.pretrained=None",
    "model.backbone.img_size=[64,96]",
    "model.head.num_queries=10",
    "model.head.num_blocks=2",
)

ROWS = {
    "eomt_dinov2-s": Row(23_722_903, 1_728_919, 37.05, classes=150, small=SMALL, is_map=False),
    "eomt_dinov2-b": Row(93_157_015, 6_701_719, 125.343, classes=150, is_map=False),
    "eomt_dinov2-l": Row(316_020_887, 11_819_159, 394.069, classes=150, is_map=False),
    "eomt_dinov3-s": Row(23_325_079, 1_728_919, 37.05, classes=150, is_map=False),
    "eomt_dinov3-b": Row(92_361_367, 6_701_719, 125.343, classes=150, is_map=False),
    "eomt_dinov3-l": Row(314_947_735, 11_819_159, 394.069, classes=150, is_map=False),
}
