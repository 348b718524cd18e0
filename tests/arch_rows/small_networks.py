"""Rows of small networks: SegNeXt, LR-ASPP, and heads on MobileNets, PoolFormer and MobileViT."""

from tests.arch_rows.row import Row

NARROW = ("model.backbone.channels=[8,16,16,16]", "model.backbone.depths=[1,1,1,1]")
UNTRAINED = "model.backbone.pretrained=None"
V3_SMALL = (UNTRAINED, "model.backbone.name='tf_mobilenetv3_small_minimal_100'", "model.head.channels=16")

ROWS = {
    "segnext_t": Row(
        4_263_414,
        359_830,
        6.404,
        classes=150,
        small=(*NARROW, "model.head.channels=32", "model.head.steps=1", "model.head.eval_steps=1"),
    ),
    "lraspp_mobilenet-v3-l": Row(3_284_547, 312_595, 8.626, small=V3_SMALL),
    "lraspp_torchvision": Row(
        3_221_538, 249_586, 1.975, classes=21, small=(UNTRAINED, "model.head.channels=16"), compiles_slowly=True
    ),
    "deeplabv3plus_mobilenet-v2": Row(
        15_244_374,
        13_206_083,
        68.038,
        small=(UNTRAINED, "model.backbone.name='mobilenetv2_035'", "model.head.channels=16"),
        compiles_slowly=True,
    ),
    "semfpn_poolformer_s12": Row(
        15_669_846,
        1_643_158,
        30.911,
        classes=150,
        small=(UNTRAINED, "model.neck.channels=16"),
        compiles_slowly=True,
    ),
    "deeplabv3_mobilevit-s": Row(
        6_357_941,
        1_523_989,
        classes=21,
        small=(UNTRAINED, "model.backbone.name='mobilevit_xxs'", "model.head.channels=16"),
        compiles_slowly=True,
    ),
}
