"""Rows of models that find instances; their contract is tests/instances/test_instance_archs.py. MAL's network
draws a mask in each box: its own tests are tests/instances/test_mask_labelling.py and test_oracles_mal.py."""

from tests.arch_rows.row import Row

R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None")
SOLO = (*R18, "model.neck.channels=32", "model.head.channels=32", "model.head.depth=1", "model.head.grids=[8,6,4,3,2]")
QUERIES = (
    "model.backbone.pretrained=None",
    "model.head.channels=32",
    "model.head.num_queries=6",
    "model.head.heads=2",
    "model.head.encoder_layers=1",
    "model.head.encoder_inner=32",
    "model.head.layers=2",
    "model.head.inner=32",
)
DISCO = (*SOLO, "model.head.kernel_channels=32", "model.head.mask_channels=32")
CONDINST = (
    *R18,
    "model.neck.channels=32",
    "model.head.channels=64",
    "model.head.depth=1",
    "model.head.mask_depth=1",
    "model.head.mask_channels=8",
)
BOXTEACHER = (*CONDINST, "model.backbone.stride_in_first=False")

ROWS = {
    # Published: 35.8153, 57.0281, 43.9726, 47.4239, 215.4731 and 34.0855 million trainable parameters.
    "boxlevelset_r50": Row(35_815_253, 9_188_181, classes=80, small=SOLO, is_map=False),
    "boxlevelset_r101_dcn": Row(57_028_050, 10_122_678, classes=80, small=SOLO, is_map=False),
    "box2mask_c_r50": Row(35_815_253, 9_188_181, classes=80, small=SOLO, is_map=False),
    # Towers 8,261,632 and 8,270,848, their last convolutions 368,720 and 1,179,904, mask features 1,659,392.
    "discobox_r50": Row(46_367_568, 19_740_496, classes=80, small=DISCO, is_map=False),
    "box2mask_r50": Row(43_972_562, 20_517_650, classes=80, small=(*R18, *QUERIES), is_map=False),
    "box2mask_swin_t": Row(47_423_948, 19_903_250, classes=80, small=QUERIES, is_map=False),
    "box2mask_swin_l": Row(215_473_094, 20_271_890, classes=80, is_map=False),
    # Published: 34.2597 million without normalizations of the ResNet, of which the stem and a stage are frozen, and
    # 97.0908; the towers have 2,048 biases more than BoxInst's.
    "boxteacher_r50": Row(34_037_331, 6_936_147, classes=80, small=BOXTEACHER, is_map=False),
    "boxteacher_swin_b": Row(97_090_827, 6_936_147, classes=80, is_map=False),
    # 89,287,776 of the encoder, 262,656 of the kernel and 3,539,968 of the maps, as the published network has them
    "mal_vit-b": Row(93_090_400, 3_802_624, classes=1, is_map=False),
    "boxinst_r50": Row(34_085_459, 6_934_099, classes=80, small=CONDINST, is_map=False),
}
