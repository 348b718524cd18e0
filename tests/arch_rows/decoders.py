"""Rows of decoders for any encoder (pyramids, attention, refinement, large kernels) and of networks built on VGG."""

from tests.arch_rows.row import Row

R18 = ("model.backbone.name='resnet18'", "model.backbone.pretrained=None")
NARROW = (*R18, "model.head.channels=32")
VGG = ("model.backbone.channels=[4,8,8,8,8]",)
FULL = (*VGG, "model.backbone.hidden=16")
FCN = (*FULL, "model.backbone.pretrained=None", "model.head.zero_init=False")

ROWS = {
    "sfnet_r18": Row(12_869_715, 1_544_723, 30.4, small=NARROW[2:], compiles_slowly=True),
    # With ResNet-101 (resnet101s) it has the published 50,317,267.
    "sfnet_r50": Row(31_325_139, 7_693_331, 82.9, small=NARROW),
    "pan_r50": Row(24_265_018, 756_986, 34.7, small=NARROW),
    "fpn_r50": Row(26_118_355, 1_626_259, small=(*NARROW, "model.neck.channels=32")),
    "attention_unet_r34": Row(24_796_863, 3_512_191, classes=11, small=(*R18, "model.head.channels=[32,24,16,16,8]")),
    "refinenet_r101": Row(118_052_437, 75_552_277, classes=21, small=(*NARROW, "model.head.deep_channels=48")),
    "gcn_r152": Row(59_369_620, 1_225_812, classes=21, small=R18),
    # The published 136,152,917, 134,815,994 and 134,489,759 include the bilinear kernels, which are not trained.
    "fcn32s_vgg16": Row(134_346_581, 86_037, classes=21, small=FCN),
    "fcn16s_vgg16": Row(134_357_354, 96_810, classes=21, small=FCN),
    "fcn8s_vgg16": Row(134_362_751, 102_207, classes=21, small=FCN),
    "segnet": Row(29_449_355, 6_347, classes=11, small=VGG),
    "deconvnet": Row(251_805_653, 1_365, classes=21, small=FULL, sizes=((224, 224), (65, 97))),
    "hypercolumns_vgg16": Row(134_360_021, 99_477, classes=21, small=(*FULL, "model.backbone.pretrained=None")),
    "hypercolumns_unet": Row(
        31_592_021, 554_453, classes=21, small=("model.backbone.channels=[4,8,16,24,32]", "model.head.channels=8")
    ),
    "exfuse_r101": Row(85_060_358, 42_560_198, classes=21, small=R18, compiles_slowly=True),
    "dupsampling_r50": Row(30_401_729, 6_874_465, classes=21, small=NARROW),
    # As unet_r34 with four blocks, plus 36,928 in the convolution that replaces the pooling.
    "unet_r34_unpooled": Row(24_450_923, 3_129_323, classes=11, small=(*R18, "model.head.channels=[32,24,16,8]")),
}
