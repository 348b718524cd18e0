"""Key maps of mmsegmentation 1.x.

One list of rules serves all heads whose layer names no other head uses; a system whose names mean something else has a
key map of its own.
"""

from segkit.convert.keymap import KeyMap, Rule, Writes

URL = "https://github.com/open-mmlab/mmsegmentation"

RESNET: tuple[Rule, ...] = (
    (r"^backbone\.stem\.7\.", "backbone.encoder.bn1."),
    (r"^backbone\.stem\.", "backbone.encoder.conv1."),
    (r"^backbone\.(?!encoder\.)", "backbone.encoder."),
)
"""From ResNetV1c to timm's resnet50c: apart from the prefix only the stem's names differ."""

RESNET_BACK = (
    (r"^backbone\.encoder\.conv1\.(\d)\.", r"backbone.stem.\1."),
    (r"^backbone\.encoder\.bn1\.", "backbone.stem.7."),
)
"""The stem of ResNetV1c, whose other layers have their names."""

DEEP_RESNETS = r"resnet\d+c(\..*)?"

UNET: tuple[Rule, ...] = (
    # A pooling layer precedes the convolutions of every level but the first.
    (r"^backbone\.encoder\.(\d)\.[01]\.convs\.", r"backbone.encoder.\1."),
    # There the decoder's levels are numbered from the image, here from the deepest map.
    *(
        (rf"^backbone\.decoder\.{i}\.(conv_block\.convs|upsample\.interp_upsample)\.", rf"backbone.decoder@{3 - i}.\1.")
        for i in range(4)
    ),
    (r"^backbone\.decoder@(\d)\.conv_block\.convs\.", r"backbone.decoder.\1.convs."),
    (r"^backbone\.decoder@(\d)\.upsample\.interp_upsample\.", r"backbone.decoder.\1.up."),
)

HEADS: tuple[Rule, ...] = (
    (r"^decode_head\.", "head."),
    (r"^auxiliary_head\.(?!\d)", "aux.0."),
    (r"^auxiliary_head\.", "aux."),
    (r"\.conv_seg\.", ".classifier."),
    (r"\.conv_cat\.", ".merge."),
    (r"\.depthwise_conv\.", ".depthwise."),
    (r"\.pointwise_conv\.", ".pointwise."),
    (r"^head\.psp_modules\.(\d)\.1\.", r"head.pools.projects.\1."),
    (r"^head\.image_pool\.1\.", "head.aspp.image_pool.project."),
    (r"^head\.aspp_modules\.0\.", "head.aspp.pointwise."),
    *((rf"^head\.aspp_modules\.{i}\.", f"head.aspp.dilated.{i - 1}.") for i in (1, 2, 3)),
    (r"^head\.c1_bottleneck\.", "head.low."),
    (r"^head\.sep_bottleneck\.", "head.refine."),
    (r"^head\.bottleneck\.", "head.fuse."),
)

MAPS = {
    "mmseg": KeyMap(
        "mmsegmentation",
        (*RESNET, *HEADS),
        URL,
        back=RESNET_BACK,
        writes=(Writes("FCNHead|PSPHead|DeepLabV3Head|DeepLabV3PlusHead", DEEP_RESNETS),),
    ),
    "mmseg_unet": KeyMap("mmsegmentation, U-Net", (*UNET, *HEADS), URL),
}
