"""Key map of the published checkpoints of RITM: HRNet with OCR, and DeepLabv3+ on ResNets."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.smp import pool_first

URL = "https://github.com/SamsungLabs/ritm_interactive_segmentation"

GUIDANCE: tuple[Rule, ...] = (
    (r"^rgb_conv\.", "guide.layers."),
    (r"^maps_transform\.3\.scale$", "guide.scale"),
    (r"^maps_transform\.(\d)\.", r"guide.layers.\1."),
    (r"^maps_transform\.", "guide.conv."),
)

OCR: tuple[Rule, ...] = (
    (r"^feature_extractor\.aux_head\.([01])\.", r"head.coarse_conv.\1."),
    (r"^feature_extractor\.aux_head\.3\.", "head.coarse_classifier."),
    (r"^feature_extractor\.conv3x3_ocr\.", "head.embed."),
    # Without OCR a convolution over all branches precedes the classifier.
    (r"^feature_extractor\.cls_head\.([01])\.", r"head.last_conv.\1."),
    (r"^feature_extractor\.cls_head\.(3\.)?", "head.classifier."),
    (r"^feature_extractor\.ocr_distri_head\.conv_bn_dropout\.", "head.fuse@"),
    (r"^feature_extractor\.ocr_distri_head\.object_context_block\.f_pixel\.", "head.relation.query@"),
    (r"^feature_extractor\.ocr_distri_head\.object_context_block\.f_object\.", "head.relation.key@"),
    (r"^feature_extractor\.ocr_distri_head\.object_context_block\.f_down\.", "head.relation.value@"),
    (r"^feature_extractor\.ocr_distri_head\.object_context_block\.f_up\.", "head.relation.out@"),
    # Queries (pixels) and keys (classes) pass two convolutions, the others one.
    *((rf"^(head\.relation\.(?:query|key))@{2 * i}\.", rf"\1.{i}.conv.") for i in (0, 1)),
    *((rf"^(head\.relation\.(?:query|key))@{2 * i + 1}\.0\.", rf"\1.{i}.bn.") for i in (0, 1)),
    (r"@0\.", ".conv."),
    (r"@1\.0\.", ".bn."),
)

DEEPLAB: tuple[Rule, ...] = (
    (r"^feature_extractor\.backbone\.", "backbone.encoder."),
    (r"^feature_extractor\.skip_project\.skip_project\.0\.", "head.low.conv."),
    (r"^feature_extractor\.skip_project\.skip_project\.1\.", "head.low.bn."),
    (r"^feature_extractor\.aspp\.project\.0\.", "head.fuse.conv.", pool_first),
    (r"^feature_extractor\.aspp\.project\.1\.", "head.fuse.bn."),
    (r"^feature_extractor\.aspp\.concurent\.4\.gap\.1\.", "head.aspp.image_pool.project.conv."),
    (r"^feature_extractor\.aspp\.concurent\.4\.gap\.2\.", "head.aspp.image_pool.project.bn."),
    (r"^feature_extractor\.aspp\.concurent\.0\.", "head.aspp.pointwise@"),
    *((rf"^feature_extractor\.aspp\.concurent\.{i}\.", f"head.aspp.dilated.{i - 1}@") for i in (1, 2, 3)),
    (r"^(head\.aspp\.[a-z0-9.]+)@0\.", r"\1.conv."),
    (r"^(head\.aspp\.[a-z0-9.]+)@1\.", r"\1.bn."),
    (r"^feature_extractor\.head\.block\.", "head.decoder."),
    (r"^head\.layers\.2\.", "head.classifier."),
    (r"^head\.layers\.", "head.embed."),
    (r"\.body\.0\.", ".depthwise."),
    (r"\.body\.1\.", ".pointwise.conv."),
    (r"\.body\.2\.", ".pointwise.bn."),
)

MAPS = {
    "ritm": KeyMap(
        "RITM, interactive segmentation",
        (*GUIDANCE, *OCR, *DEEPLAB, (r"^feature_extractor\.", "backbone.")),
        URL,
    ),
}
