"""Rows of heads with predicted kernels, context priors and co-occurrences: CaC-Net, SANet, CPNet, CFNet.

CPNet's head has the published count. The totals of the others are counted by hand: CaC-Net 9,438,208 + 267,273 (one
module, published) + 1,024 + 263,168 + 4,719,616 + 9,747; CFNet 9,438,208 + 788,480 (its attention, published) + 263,168
+ 1,050,624 + 32,864 + 1,049,600 + 2 * 19,475; SANet 4,351,488 + 9,438,208 + 3,667 + 13,395.
"""

from tests.arch_rows.row import R18, Row

ROWS = {
    "cacnet_r50": Row(40_590_991, 14_699_036, small=R18),
    "sanet_r50": Row(39_698_713, 13_806_758, small=(*R18, "model.head.attention_channels=16")),
    "cpnet_r50": Row(52_153_990, 26_262_035, small=(*R18, "model.head.grid=[9,13]"), sizes=((65, 97), (72, 104))),
    "cfnet_r50": Row(38_553_849, 12_661_894, small=(*R18, "model.head.num_mix=2")),
}
