"""Rows of DeepLabv1 and v2 and of ParseNet, attention to scale, DenseASPP and HANet, which build on DeepLab."""

from tests.arch_rows.row import R18, Row

VGG = ("model.backbone.channels=[4,8,8,8,8]", "model.backbone.pretrained=None")
FOV = (*VGG, "model.head.channels=16")
DENSE = ("model.backbone.type='Timm'", "model.backbone.output_stride=8", *R18)

ROWS = {
    "deeplab_v1_vgg16": Row(20_505_429, 5_790_741, classes=21, small=FOV),
    "deeplab_v1_vgg16_msc": Row(21_711_445, 6_996_757, classes=21, small=(*FOV, "model.head.side_channels=8")),
    "deeplab_v1_r101": Row(42_543_189, 43_029, classes=21, small=R18[:2]),
    "deeplab_v2_r101": Row(44_048_532, 1_548_372, classes=21, small=R18[:2]),
    "deeplab_v2_r101_msc": Row(44_048_532, 1_548_372, classes=21, small=R18[:2]),
    "deeplab_v2_vgg16": Row(37_877_652, 23_162_964, classes=21, small=(*VGG, "model.head.hidden=16")),
    # As DeepLab-LargeFOV, plus 2 * 1,024 scales and 1,024 weights per class; late fusion has 21 more biases.
    "parsenet_vgg16": Row(20_528_981, 5_814_293, classes=21, small=FOV),
    "parsenet_vgg16_late": Row(20_529_002, 5_814_314, classes=21, small=FOV),
    "attention_to_scale_vgg16": Row(
        20_505_429 + 14_157_827, 5_790_741, classes=21, branch="scale0.", small=(*FOV, "model.attention_channels=16")
    ),
    "denseaspp_densenet121": Row(8_280_851, 1_329_043, 38.6, small=(*DENSE, "model.head.hidden=16")),
    "denseaspp_densenet161": Row(35_395_427, 8_927_843, 154.9, small=(*DENSE, "model.head.hidden=16")),
    # 605,703 parameters of the head are attention, the published count.
    "hanet_r101": Row(64_802_637, 17_449_338, small=R18, compiles_slowly=True),
}
