"""Rows of SegFix."""

from tests.arch_rows.row import Row

SMALL = ("model.backbone.width=4", "model.backbone.num_blocks=1", "model.head.channels=16")
HR4 = (*SMALL, "model.backbone.num_modules=[1,1,1]", "model.backbone.pretrained=None")

ROWS = {
    # 181.606, 236.015 and 38.9 GMAC are published for 512 x 1024 pixels
    "segfix_hr48": Row(65_697_344, 372_224, 181.606547 / 2, classes=2, small=HR4),
    "segfix_hr2x20": Row(
        47_406_208, 321_024, 236.014502 / 2, classes=2, small=(*SMALL, "model.backbone.num_modules=[1,1,1,1]")
    ),
    "segfix_hr18": Row(9_704_084, 141_824, 38.9 / 2, classes=2, small=HR4),
}
