"""Rows of real-time networks."""

from tests.arch_rows.row import Row

ODD = ((65, 97),)
"""Of networks whose small model is that of another row."""

DDR = ("model.backbone.channels=8", "model.backbone.pool_channels=16", "model.head.channels=16")
PID = (
    *("model.backbone.stem_blocks=1", "model.backbone.branch_blocks=2"),
    *("model.backbone.channels=8", "model.backbone.pool_channels=8", "model.head.channels=16"),
)
STDC = (
    *("model.backbone.channels=(4,8,32,64,128)", "model.backbone.blocks=(1,1,2)"),
    *("model.neck.channels=16", "model.neck.fused_channels=16", "model.head.channels=16"),
)
BISENET = (
    *("model.backbone.encoder='resnet18'", "model.backbone.pretrained=None"),
    *("model.backbone.channels=16", "model.backbone.spatial_channels=(8,8,8,16)", "model.backbone.fused_channels=16"),
    "model.head.channels=16",
)
BISENETV2 = (
    *("model.backbone.detail_channels=(8,8,32)", "model.backbone.semantic_channels=(8,8,16,32)"),
    *("model.backbone.expand=2", "model.head.channels=16"),
)
EFFICIENTVIT = (
    *("model.backbone.name='efficientvit_b0'", "model.backbone.pretrained=None"),
    *("model.head.channels=16", "model.head.blocks=1"),
)

ROWS = {
    "ddrnet_23-slim": Row(total=5_734_278, head=75_347, gmac=4.535, small=DDR, compiles_slowly=True),
    "ddrnet_23": Row(total=20_299_238, head=298_131, gmac=17.883, small=DDR, sizes=ODD, compiles_slowly=True),
    "pidnet_s": Row(total=7_720_871, head=150_419, gmac=5.899, small=PID, compiles_slowly=True),
    "pidnet_m": Row(total=28_762_983, head=298_131, gmac=22.166, small=PID, sizes=ODD, compiles_slowly=True),
    "pidnet_l": Row(total=37_314_183, head=595_731, gmac=34.367, small=PID, compiles_slowly=True),
    # 3 numbers less than are published: constants of the detail loss.
    "stdc1": Row(total=8_573_019, head=595_219, gmac=8.432, small=STDC),
    "stdc2": Row(total=12_603_483, head=595_219, gmac=11.728, small=STDC, sizes=ODD, compiles_slowly=True),
    "bisenet_r18": Row(total=13_425_721, head=595_219, gmac=14.792, small=BISENET, compiles_slowly=True),
    "bisenet_r50": Row(total=59_243_385, head=9_458_707, gmac=98.795, small=BISENET, sizes=ODD, compiles_slowly=True),
    "bisenetv2": Row(total=14_804_255, head=1_201_171, gmac=12.302, small=BISENETV2, compiles_slowly=True),
    "cgnet": Row(
        total=496_325,
        head=4_883,
        gmac=3.381,
        small=("model.backbone.channels=(8,16,16)", "model.backbone.blocks=(2,2)", "model.backbone.reductions=(2,2)"),
    ),
    "erfnet": Row(
        total=2_084_095,
        head=21_139,
        gmac=14.590,
        compiles_slowly=True,
        small=(
            *("model.backbone.channels=(8,12,16)", "model.backbone.blocks=(1,1)", "model.backbone.dilations=(2,4)"),
            *("model.backbone.decoder_blocks=1", "model.head.channels=16"),
        ),
    ),
    # 4.4 GMAC are published for 1024 x 2048 pixels, eight times as many.
    "efficientvit_b0": Row(total=706_691, head=24_083, gmac=0.5489, small=EFFICIENTVIT, compiles_slowly=True),
}
