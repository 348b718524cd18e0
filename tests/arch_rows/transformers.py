"""Rows of UPerNet, Semantic FPN, DPT and SETR on transformers; small variants have narrow encoders."""

from tests.arch_rows.row import Row

NARROW = ("model.backbone.pretrained=None", "model.head.channels=16")
VIT = (
    "model.backbone.name='vit_tiny_patch16_224'",
    "model.backbone.options={'depth': 4}",
    "model.backbone.out_indices=(0,1,2,3)",
    "model.backbone.img_size=(64,96)",
    *NARROW,
)
SWIN = ("model.backbone.options={'embed_dim': 24, 'num_heads': (1, 2, 4, 8), 'depths': (2, 2, 2, 2)}", *NARROW)
CONVNEXT = ("model.backbone.name='convnext_atto'", *NARROW)
TWINS = (
    "model.backbone.options={'embed_dims': (16, 32, 64, 128), 'num_heads': (1, 2, 4, 8), 'depths': (2, 2, 2, 2)}",
    *NARROW,
)
BEIT = (
    "model.backbone.options.depth=4",
    "model.backbone.options.embed_dim=48",
    "model.backbone.options.num_heads=3",
    "model.backbone.out_indices=(0,1,2,3)",
    "model.backbone.img_size=(64,96)",
    *NARROW,
)
BUILT_FOR = ((64, 96), (50, 90))
"""Sizes of images that fit into tables of relative positions for 64 x 96."""

ROWS = {
    "upernet_swin-t": Row(59_941_862, 31_497_366, 236.865, classes=150, small=SWIN, compiles_slowly=True),
    "upernet_convnext-t": Row(60_242_636, 31_497_366, 234.636, classes=150, small=CONVNEXT, compiles_slowly=True),
    # Published numbers and the bias of the patch embedding (384, 768 or 1024), which mmsegmentation's encoders lack.
    "upernet_deit-s16": Row(52_093_868, 29_187_222, 60.829, classes=150, small=VIT),
    "upernet_vit-b16_ln-mln": Row(144_175_148, 32_332_950, 443.363, classes=150, small=VIT),
    # The published 163,407,980; of MAE 163,877,228 less 12 biases of keys.
    "upernet_beit-b": Row(
        163_407_980, 67_963_542, None, classes=150, small=BEIT, sizes=BUILT_FOR, compiles_slowly=True
    ),
    "upernet_mae-b": Row(
        163_868_012, 67_963_542, 604.962, classes=150, small=BEIT, sizes=BUILT_FOR, compiles_slowly=True
    ),
    "twins_pcpvt-s_fpn": Row(27_858_838, 1_643_158, 44.493, classes=150, small=TWINS, compiles_slowly=True),
    "twins_svt-s_uper": Row(53_856_300, 29_678_742, 227.784, classes=150, small=TWINS, compiles_slowly=True),
    "dpt_vit-b16": Row(109_705_046, 12_474_518, 219.359, classes=150, small=VIT),
    # The published 111,807,980 less what no output depends on: a last normalization, a residual unit.
    "dpt_original_vit-b16": Row(110_625_772, 13_103_404, 219.359, classes=150, small=VIT, compiles_slowly=True),
    # segmentation_models' 137,808,990 hold the encoder's classifier and last normalization, too.
    "dpt_smp_vit-b16": Row(121_010_187, 16_789_771, 232.034, classes=11, small=VIT, compiles_slowly=True),
    "setr_pup_vit-l": Row(317_291_096, 4_171_414, 425.202, classes=150, small=VIT),
    "setr_naive_vit-l": Row(305_558_616, 303_254, 362.883, classes=150, small=VIT),
    # Less the class token and its position, which nothing reads.
    "setr_mla_vit-l": Row(309_568_238, 1_848_470, 368.142, classes=150, small=VIT),
}
