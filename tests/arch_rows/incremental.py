"""Rows of the networks of class-incremental learning."""

from tests.arch_rows.row import Row

SMALL = ("model.backbone.depth=18", "model.head.hidden=8", "model.head.channels=8", "model.head.rates=[2,3,4]")

ROWS = {"mib_r101_os16": Row(58_040_661, 15_540_501, classes=21, small=SMALL)}
