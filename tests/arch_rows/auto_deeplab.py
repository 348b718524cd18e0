"""Rows of Auto-DeepLab: the paper's derived network, the one in the form of the search, and the search network."""

from tests.arch_rows.row import Row

NARROW = ("model.backbone.filters=4", "model.head.channels=16", "model.head.low_channels=8")

UNROLLED = "thousands of small operations in one graph: tracing even the small one takes minutes, and no search gains"

ROWS = {
    # 10.15M in table 3 of the paper, 10,147,427 by its published code; so is the head's part
    "auto_deeplab": Row(10_147_427, 1_815_552 + 1_301_043, small=NARROW, compiles_slowly=True),
    # by the code of NoamRosenberg/autodeeplab; its multiply-additions are of 512 x 1024 pixels
    "auto_deeplab_resized": Row(5_593_883, 1_815_552 + 1_301_043, 69.940234240 / 2, small=NARROW, compiles_slowly=True),
    "auto_deeplab_search": Row(
        11_570_884,
        23_480 + 91_760 + 362_720 + 1_442_240,
        small=("model.backbone.filters=1", "model.backbone.layers=3"),
        sizes=((65, 97), (64, 96)),
        no_compile=UNROLLED,
        no_export=UNROLLED,
    ),
}
