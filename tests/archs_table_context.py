"""Rows of feature pyramids, encodings, predicted filters, PointRend and the small real-time networks.

CONTEXT maps the name of a file of configs/_base_/models to the arguments of its Row in tests/arch_rows/context.py.
"""

from typing import Any

R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None")
NARROW = (*R18, "model.head.channels=32")
JPU = (*NARROW, "model.neck.channels=16")

CONTEXT: dict[str, dict[str, Any]] = {
    "semfpn_r50": dict(total=28_497_907, head=1_626_259, gmac=45.3, small=(*R18, "model.neck.channels=32")),
    "upernet_r50": dict(total=66_415_238, head=40_523_283, gmac=236.8, small=NARROW),
    "encnet_r50": dict(total=35_891_961, head=10_000_006, gmac=140.7, small=NARROW),
    "fastfcn_r50": dict(total=55_627_513, head=10_000_006, gmac=92.4, small=JPU),
    "fastfcn_psp_r50": dict(total=68_711_046, head=23_083_539, gmac=130.0, small=JPU),
    "fastfcn_deeplabv3_r50": dict(total=87_848_582, head=42_221_075, gmac=221.2, small=JPU),
    "dmnet_r50": dict(total=53_175_942, head=27_283_987, gmac=195.7, small=NARROW),
    "apcnet_r50": dict(total=56_357_560, head=30_465_605, gmac=204.3, small=NARROW),
    "pointrend_r50": dict(
        total=28_715_119,
        head=1_843_471,
        small=(*R18, "model.neck.channels=32", "model.head.channels=32", "model.head.num_points=64"),
    ),
    "icnet_r50": dict(
        total=47_827_833,
        head=150_163,
        gmac=15.4,
        small=(
            "model.backbone.encoder='resnet18'",
            "model.backbone.pretrained=None",
            "model.backbone.pool_channels=32",
            "model.head.channels=32",
        ),
    ),
    "fast_scnn": dict(total=1_456_617, head=38_547, gmac=0.906),
    # 6.74 GMAC are published for 1024 x 2048 pixels, eight times as many.
    "contextnet": dict(total=876_563, head=38_547, gmac=0.8425),
    "espnet": dict(total=365_109, head=20_780, gmac=2.39, classes=20),
    # The authors' code has 203,189, of which the released weights lack 20 * 3 * 9.
    "espnet_p2_q3": dict(total=202_649, head=20_240, classes=20),
    "espnet_c": dict(total=349_449, head=5_120, classes=20),
}
