"""Rows of the networks of class-incremental learning."""

from tests.arch_rows.row import Row

SMALL = ("model.backbone.depth=18", "model.head.hidden=8", "model.head.channels=8", "model.head.rates=[2,3,4]")

ROWS = {
    "mib_r101_os16": Row(58_040_661, 15_540_501, classes=21, small=SMALL),
    "rcil_r101_os16": Row(94_083_285, 30_222_613, classes=21, small=SMALL),
    "star_r101_os16": Row(
        58_630_997,
        16_130_837,
        classes=21,
        small=(
            "model.backbone.name='resnet18'",
            "model.backbone.pretrained=None",
            "model.head.channels=32",
            "model.head.rates=[2,3,4]",
        ),
    ),
}
