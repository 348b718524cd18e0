"""Rows of FCN, U-Net, DeepLabv3, DeepLabv3+ and PSPNet."""

from tests.arch_rows.row import R18, Row

LITE = ("model.backbone.pretrained=None",)
XCEPTION = ("model.backbone.name='xception41'", "model.backbone.pretrained=None", "model.head.channels=32")
NARROW = ("model.backbone.channels=[4,8,16,24,32]",)
UNET18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None", "model.head.channels=[32,24,16,16,8]")

ROWS = {
    "fcn_r50": Row(49_497_734, 23_605_779, 197.6, small=R18),
    "pspnet_r50": Row(48_975_494, 23_083_539, 178.3, small=R18),
    "deeplabv3_r50": Row(68_113_030, 42_221_075, 269.5, small=R18),
    "deeplabv3_r50_paper": Row(39_067_251, 15_539_987, small=(*R18, "model.backbone.dilations=[[2,4]]")),
    "deeplabv3plus_r50": Row(43_589_878, 17_697_923, 176.2, small=R18),
    "deeplabv3plus_r50_paper": Row(26_714_851, 3_187_587, small=R18),
    "deeplabv3plus_xception65": Row(41_054_899, 3_187_587, small=XCEPTION),
    "deeplabv3plus_efficientnet-lite0": Row(3_866_435, 907_587, small=(*LITE, "model.head.channels=32")),
    "unet_r34": Row(24_437_819, 3_153_147, 31.6, classes=11, small=UNET18),
    # segmentation_models has 24,551,810, of which 195 belong to a gate that is never used.
    "unet_r34_scse": Row(24_551_615, 3_266_943, classes=11, small=UNET18),
    # segmentation_models' own numbers
    "unetplusplus_r34": Row(26_080_059, 4_795_387, classes=11, small=UNET18, compiles_slowly=True),
    "linknet_r34": Row(21_772_267, 487_595, classes=11, small=UNET18[:2], compiles_slowly=True),
    "manet_r34": Row(31_785_083, 10_500_411, classes=11, small=UNET18, compiles_slowly=True),
    "unet_efficientnet-lite0": Row(5_199_611, 2_240_763, classes=11, small=(*LITE, UNET18[-1])),
    "unet_original": Row(31_032_915, 1_235, small=NARROW),
    "unet_padded": Row(31_038_803, 1_235, small=NARROW),
    "unet_s5-d16": Row(29_062_886, 38_227, 202.6, small=(*NARROW, "model.head.channels=8")),
}
