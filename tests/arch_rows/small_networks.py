"""Rows of small networks: SegNeXt."""

from tests.arch_rows.row import Row

NARROW = ("model.backbone.channels=[8,16,16,16]", "model.backbone.depths=[1,1,1,1]")

ROWS = {
    "segnext_t": Row(
        4_263_414,
        359_830,
        6.404,
        classes=150,
        small=(*NARROW, "model.head.channels=32", "model.head.steps=1", "model.head.eval_steps=1"),
    ),
}
