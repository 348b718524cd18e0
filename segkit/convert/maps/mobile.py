"""Key maps of small encoders: MobileNetV2 and V3 of mmsegmentation and torchvision, PoolFormer, MobileViT."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule, Writes
from segkit.convert.maps.mmseg import HEADS, URL
from segkit.convert.maps.mmseg_context import CONTEXT
from segkit.convert.maps.smp import pool_first
from segkit.convert.maps.torchvision import DEEPLABV3, FCN

LARGE, SMALL = (1, 2, 3, 4, 2, 3), (1, 2, 3, 2, 3)
"""Blocks of each of timm's stages of MobileNetV3."""


def numbered(pattern: str, depths: tuple[int, ...]) -> tuple[Rule, ...]:
    """Rules from blocks in one row, numbered from 1, to timm's numbers of stage and block, and of the last layer.

    Args:
        pattern: of a name up to the block, with {} for its number.
        depths: blocks of each stage.
    """
    blocks = [(stage, block) for stage, depth in enumerate(depths) for block in range(depth)] + [(len(depths), 0)]
    return tuple(
        (f"^{pattern.format(i)}", f"backbone.encoder.blocks@{stage}.{block}.")
        for i, (stage, block) in enumerate(blocks, 1)
    )


ENDS: tuple[Rule, ...] = (
    # The first block has no expansion: its first convolution is the depthwise one.
    (r"@0\.0\.depthwise\.conv\.", "@0.0.conv_dw."),
    (r"@0\.0\.depthwise\.bn\.", "@0.0.bn1."),
    (r"@0\.0\.linear\.conv\.", "@0.0.conv_pw."),
    (r"@0\.0\.linear\.bn\.", "@0.0.bn2."),
    *(
        (rf"(@.*)\.{part}\.{kind}\.", rf"\1.{name}.")
        for part, conv, bn in (
            ("expand", "conv_pw", "bn1"),
            ("depthwise", "conv_dw", "bn2"),
            ("linear", "conv_pwl", "bn3"),
        )
        for kind, name in (("conv", conv), ("bn", bn))
    ),
    (r"(@\d+\.0)\.bn\.", r"\1.bn1."),
    ("blocks@", "blocks."),
)


def mobilenet_v3(depths: tuple[int, ...]) -> tuple[Rule, ...]:
    """Rules from mmsegmentation's MobileNetV3 to timm's."""
    return (
        (r"^backbone\.layer0\.conv\.", "backbone.encoder.conv_stem."),
        (r"^backbone\.layer0\.bn\.", "backbone.encoder.bn1."),
        *numbered(r"backbone\.layer{}\.", depths),
        (r"(@.*)\.se\.conv1\.conv\.", r"\1.se.conv_reduce."),
        (r"(@.*)\.se\.conv2\.conv\.", r"\1.se.conv_expand."),
        (r"(@.*)\.(expand|depthwise|linear)_conv\.", r"\1.\2."),
        *ENDS,
    )


MOBILENET_V2: tuple[Rule, ...] = (
    (r"^backbone\.conv1\.conv\.", "backbone.encoder.conv_stem."),
    (r"^backbone\.conv1\.bn\.", "backbone.encoder.bn1."),
    *((rf"^backbone\.layer{i + 1}\.", f"backbone.encoder.blocks@{i}.") for i in range(7)),
    (r"@0\.0\.conv\.0\.", "@0.0.depthwise."),
    (r"@0\.0\.conv\.1\.", "@0.0.linear."),
    *((rf"(@.*)\.conv\.{i}\.", rf"\1.{part}.") for i, part in enumerate(("expand", "depthwise", "linear"))),
    *ENDS,
)

TORCHVISION_V3: tuple[Rule, ...] = (
    (r"^backbone\.0\.0\.", "backbone.encoder.conv_stem."),
    (r"^backbone\.0\.1\.", "backbone.encoder.bn1."),
    *numbered(r"backbone\.{}\.", LARGE),
    (r"(@.*)\.block\.\d\.fc1\.", r"\1.se.conv_reduce."),
    (r"(@.*)\.block\.\d\.fc2\.", r"\1.se.conv_expand."),
    (r"@0\.0\.block\.0\.", "@0.0.depthwise."),
    (r"@0\.0\.block\.1\.", "@0.0.linear."),
    (r"(@.*)\.block\.0\.", r"\1.expand."),
    (r"(@.*)\.block\.1\.", r"\1.depthwise."),
    (r"(@.*)\.block\.[23]\.", r"\1.linear."),
    (r"(@.*)\.0\.(weight|bias)$", r"\1.conv.\2"),
    (r"(@.*)\.1\.(weight|bias|running_mean|running_var|num_batches_tracked)$", r"\1.bn.\2"),
    *ENDS,
)

LRASPP: tuple[Rule, ...] = (
    (r"^decode_head\.conv_ups\.conv_up(\d)\.", r"head.merges.\1."),
    (r"^decode_head\.convs\.conv(\d)\.", r"head.sides.\1."),
    (r"^decode_head\.conv_up_input\.", "head.before."),
    (r"^decode_head\.aspp_conv\.", "head.reduce."),
    (r"^decode_head\.image_pool\.1\.conv\.", "head.gate."),
)

TORCHVISION_LRASPP: tuple[Rule, ...] = (
    (r"^classifier\.cbr\.0\.", "head.reduce.conv."),
    (r"^classifier\.cbr\.1\.", "head.reduce.bn."),
    (r"^classifier\.scale\.1\.", "head.gate."),
    (r"^classifier\.(low|high)_classifier\.", r"head.\1_classifier."),
)

POOLFORMER: tuple[Rule, ...] = (
    (r"^backbone\.patch_embed\.proj\.", "backbone.encoder.stem.conv."),
    *((rf"^backbone\.norm{2 * i}\.", f"backbone.norms.{i}.") for i in range(4)),
    *((rf"^backbone\.network\.{2 * i}\.", f"backbone.encoder.stages_{i}.blocks.") for i in range(4)),
    *(
        (rf"^backbone\.network\.{2 * i + 1}\.proj\.", f"backbone.encoder.stages_{i + 1}.downsample.conv.")
        for i in range(3)
    ),
    (r"\.layer_scale_([12])$", r".layer_scale\1.scale"),
)


def from_bgr(weight: Tensor) -> Tensor:
    """Turns the input channels of a first convolution around: what was trained on BGR then reads RGB."""
    return weight.flip(1)


MOBILEVIT: tuple[Rule, ...] = (
    (r"^mobilevit\.conv_stem\.convolution\.weight", "backbone.encoder.stem.conv.weight", from_bgr),
    (r"^mobilevit\.conv_stem\.normalization\.", "backbone.encoder.stem.bn."),
    (r"^mobilevit\.encoder\.layer\.([01])\.layer\.", r"backbone.encoder.stages_\1."),
    (r"^mobilevit\.encoder\.layer\.(\d)\.downsampling_layer\.", r"backbone.encoder.stages_\1.0."),
    (r"^mobilevit\.encoder\.layer\.(\d)\.conv_1x1\.convolution\.", r"backbone.encoder.stages_\1.1.conv_1x1."),
    (r"^mobilevit\.encoder\.layer\.(\d)\.layernorm\.", r"backbone.encoder.stages_\1.1.norm."),
    (r"^mobilevit\.encoder\.layer\.(\d)\.transformer\.layer\.", r"backbone.encoder.stages_\1.1.transformer."),
    (r"^mobilevit\.encoder\.layer\.(\d)\.", r"backbone.encoder.stages_\1.1."),
    (r"\.expand_1x1\.", ".conv1_1x1."),
    (r"\.conv_3x3\.", ".conv2_kxk."),
    (r"\.reduce_1x1\.", ".conv3_1x1."),
    (r"\.conv_projection\.", ".conv_proj."),
    (r"(stages_.*)\.fusion\.", r"\1.conv_fusion."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.attention\.", ".attn."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(transformer.*)\.output\.dense\.", r"\1.mlp.fc2."),
    (r"^segmentation_head\.aspp\.project\.convolution\.", "head.fuse.conv.", pool_first),
    (r"^segmentation_head\.aspp\.project\.", "head.fuse."),
    (r"^segmentation_head\.aspp\.convs\.0\.", "head.aspp.pointwise."),
    *((rf"^segmentation_head\.aspp\.convs\.{i}\.", f"head.aspp.dilated.{i - 1}.") for i in (1, 2, 3)),
    (r"^segmentation_head\.aspp\.convs\.4\.conv_1x1\.", "head.aspp.image_pool.project."),
    (r"^segmentation_head\.classifier\.convolution\.", "head.classifier."),
    (r"\.convolution\.", ".conv."),
    (r"\.normalization\.", ".bn."),
)

QKV = {
    f".attn.qkv.{kind}": tuple(f".attn.{part}.{kind}" for part in ("query", "key", "value"))
    for kind in ("weight", "bias")
}

MAPS = {
    "mmseg_lraspp": KeyMap("mmsegmentation, LR-ASPP on MobileNetV3-L", (*mobilenet_v3(LARGE), *LRASPP, *HEADS), URL),
    "mmseg_lraspp_small": KeyMap(
        "mmsegmentation, LR-ASPP on MobileNetV3-S", (*mobilenet_v3(SMALL), *LRASPP, *HEADS), URL
    ),
    "mmseg_mobilenet_v2": KeyMap("mmsegmentation, MobileNetV2", (*MOBILENET_V2, *HEADS), URL),
    "torchvision_lraspp": KeyMap(
        "torchvision lraspp_mobilenet_v3_large",
        (*TORCHVISION_V3, *TORCHVISION_LRASPP),
        "https://download.pytorch.org/models/lraspp_mobilenet_v3_large-d234d4ea.pth",
        score={"mIoU": 57.9},
    ),
    "torchvision_deeplabv3_mobilenet": KeyMap(
        "torchvision deeplabv3_mobilenet_v3_large",
        (*TORCHVISION_V3, *(rule for rule in DEEPLABV3 if rule != FCN[0])),
        "https://download.pytorch.org/models/deeplabv3_mobilenet_v3_large-fc3c493d.pth",
        score={"mIoU": 60.3},
    ),
    "mmseg_poolformer": KeyMap(
        "mmsegmentation, Semantic FPN on PoolFormer",
        (*POOLFORMER, *CONTEXT, *HEADS),
        URL,
        writes=(Writes("SemFPNHead", "poolformer_.*"),),
    ),
    "hf_mobilevit": KeyMap(
        "Hugging Face, MobileViT with DeepLabv3",
        MOBILEVIT,
        "https://huggingface.co/apple/deeplabv3-mobilevit-small",
        joins=QKV,
    ),
}
