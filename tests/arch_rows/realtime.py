"""Rows of real-time networks of two and three branches."""

from tests.arch_rows.row import Row

DDR = ("model.backbone.channels=8", "model.backbone.pool_channels=16", "model.head.channels=16")
PID = (
    *("model.backbone.stem_blocks=1", "model.backbone.branch_blocks=2"),
    *("model.backbone.channels=8", "model.backbone.pool_channels=8", "model.head.channels=16"),
)

ROWS = {
    "ddrnet_23-slim": Row(total=5_734_278, head=75_347, gmac=4.535, small=DDR),
    "ddrnet_23": Row(total=20_299_238, head=298_131, gmac=17.883, small=DDR, compiles_slowly=True),
    "pidnet_s": Row(total=7_720_871, head=150_419, gmac=5.899, small=PID),
    "pidnet_m": Row(total=28_762_983, head=298_131, gmac=22.166, small=PID, compiles_slowly=True),
    "pidnet_l": Row(total=37_314_183, head=595_731, gmac=34.367, small=PID, compiles_slowly=True),
}
