"""Rows of frozen DINOv2 and DINOv3 with a linear head: of the encoders, less the mask token, and of the head."""

from tests.arch_rows.row import Row

SMALL = ("model.backbone.name='test_vit'", "model.backbone.pretrained=None", "model.backbone.out_indices=[5]")
HEAD = 2 * 384 + 384 * 150 + 150

ROWS = {
    "dinov2-s_linear": Row(22_056_576 - 384 + HEAD, HEAD, classes=150, small=SMALL),
    "dinov3-s_linear": Row(21_596_544 - 384 + HEAD, HEAD, classes=150, small=SMALL),
}
