"""Rows of networks whose queries predict label maps; their contract is tests/instances/test_instance_archs.py."""

from tests.arch_rows.instances import QUERIES, R18
from tests.arch_rows.row import Row

ROWS = {
    # Published: 44,041,367 with the 53,120 scales and biases of the encoder's normalizations, which are not trained.
    "mask2former_r50": Row(43_988_247, 20_533_335, classes=150, small=(*R18, *QUERIES), is_map=False),
    "mask2former_swin_t": Row(47_439_633, 19_918_935, classes=150, is_map=False),
}
