"""Rows of Dynamic Routing. What is computed depends on the image, so that no number of operations is held here; see
tests/test_oracles_dynamic_routing.py."""

from tests.arch_rows.row import Row

NARROW = ("model.backbone.width=8",)

ROWS = {
    "dynamic_routing_l16": Row(17_784_968, 188_115, small=(*NARROW, "model.backbone.layers=4")),
    "dynamic_routing_l33": Row(
        38_871_666,
        188_115,
        small=(*NARROW, "model.backbone.layers=4", "model.backbone.small_gate=True"),
        compiles_slowly=True,
    ),
}
