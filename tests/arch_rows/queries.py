"""Rows of networks with queries or kernels; those of queries are held to tests/instances/test_instance_archs.py."""

from tests.arch_rows.instances import QUERIES, R18
from tests.arch_rows.row import Row

DETR = (*R18, *(option for option in QUERIES if "encoder" not in option and "pretrained" not in option))
KERNELS = (
    *R18,
    "model.head.generator.channels=32",
    "model.head.group=16",
    "model.head.heads=2",
    "model.head.inner=32",
)

ROWS = {
    # Published: 44,041,367 with the 53,120 scales and biases of the encoder's normalizations, which are not trained.
    "mask2former_r50": Row(43_988_247, 20_533_335, classes=150, small=(*R18, *QUERIES), is_map=False),
    "mask2former_swin_t": Row(47_439_633, 19_918_935, classes=150, is_map=False),
    "maskformer_r50": Row(41_307_863, 17_799_831, classes=150, small=DETR, is_map=False),
    # Published: 41,758,545 with 1,536 of a layer that only a classifier of images uses.
    "maskformer_swin_t": Row(41_757_009, 14_236_311, classes=150, is_map=False),
    "knet_r50": Row(79_728_012, 53_802_390, 260.427, classes=150, small=KERNELS, compiles_slowly=True),
}
