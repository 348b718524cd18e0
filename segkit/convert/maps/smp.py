"""Key maps of segmentation_models_pytorch 0.x."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.segformer import as_conv, reversed_maps

URL = "https://github.com/qubvel-org/segmentation_models.pytorch"


def pool_first(weight: Tensor) -> Tensor:
    """Moves the input channels of image pooling, the last of five branches, to the front of a weight [C,5 * C,1,1]."""
    width = weight.shape[1] // 5
    return weight.roll(width, dims=1)


def map_first(weight: Tensor) -> Tensor:
    """Moves the feature map's D input channels before those of the pooled grids, of a weight [C,2 * D,1,1]."""
    return weight.roll(weight.shape[1] // 2, dims=1)


def shallow_first(weight: Tensor) -> Tensor:
    """Reverses the order of four concatenated maps, from deep first to shallow first, in a weight [K,4 * D,1,1]."""
    return weight.unflatten(1, (4, -1)).flip(1).flatten(1, 2)


COMMON: tuple[Rule, ...] = (
    (r"^encoder\.", "backbone.encoder."),
    (r"^segmentation_head\.0\.", "head.classifier."),
    # The image-level classifier beside the decoder is for another task.
    (r"^classification_head\.", None),
)

UNET: tuple[Rule, ...] = (
    # The last block concatenates no map: this gate is stored and never used.
    (r"^decoder\.blocks\.4\.attention1\.", None),
    (r"^decoder\.blocks\.", "head.blocks."),
    (r"\.attention1\.attention\.", ".gate_in."),
    (r"\.attention2\.attention\.", ".gate_out."),
    (r"\.cSE\.1\.", ".squeeze."),
    (r"\.cSE\.3\.", ".excite."),
    (r"\.sSE\.0\.", ".position."),
    (r"^(head\.blocks\.\d\.conv[12])\.0\.", r"\1.conv."),
    (r"^(head\.blocks\.\d\.conv[12])\.1\.", r"\1.bn."),
)

ASPP: tuple[Rule, ...] = (
    (r"^decoder\.aspp\.1\.0\.", "head.fuse_convs.0.depthwise."),
    (r"^decoder\.aspp\.1\.1\.", "head.fuse_convs.0.pointwise.conv."),
    (r"^decoder\.aspp\.2\.", "head.fuse_convs.0.pointwise.bn."),
    (r"^decoder\.aspp\.(?:0\.)?(convs|project)\.", r"head.aspp.\1."),
    (r"^head\.aspp\.project\.0\.", "head.fuse.conv.", pool_first),
    (r"^head\.aspp\.project\.1\.", "head.fuse.bn."),
    (r"^head\.aspp\.convs\.0\.0\.", "head.aspp.pointwise.conv."),
    (r"^head\.aspp\.convs\.0\.1\.", "head.aspp.pointwise.bn."),
    (r"^head\.aspp\.convs\.4\.1\.", "head.aspp.image_pool.project.conv."),
    (r"^head\.aspp\.convs\.4\.2\.", "head.aspp.image_pool.project.bn."),
    *((rf"^head\.aspp\.convs\.{i}\.", f"head.aspp.dilated.{i - 1}.") for i in (1, 2, 3)),
)

DEEPLABV3: tuple[Rule, ...] = (
    *ASPP,
    (r"^(head\.aspp\.dilated\.\d)\.0\.", r"\1.conv."),
    (r"^(head\.aspp\.dilated\.\d)\.1\.", r"\1.bn."),
    (r"^decoder\.(conv|bn)\.", r"head.convs.0.\1."),
)

DEEPLABV3PLUS: tuple[Rule, ...] = (
    *ASPP,
    (r"^(head\.aspp\.dilated\.\d)\.0\.0\.", r"\1.depthwise."),
    (r"^(head\.aspp\.dilated\.\d)\.0\.1\.", r"\1.pointwise.conv."),
    (r"^(head\.aspp\.dilated\.\d)\.1\.", r"\1.pointwise.bn."),
    (r"^decoder\.block1\.0\.", "head.low.conv."),
    (r"^decoder\.block1\.1\.", "head.low.bn."),
    (r"^decoder\.block2\.0\.0\.", "head.refine.0.depthwise."),
    (r"^decoder\.block2\.0\.1\.", "head.refine.0.pointwise.conv."),
    (r"^decoder\.block2\.1\.", "head.refine.0.pointwise.bn."),
)

PSPNET: tuple[Rule, ...] = (
    # The encoder is used up to stride 8; its other stages are stored, too.
    (r"^encoder\.layer[34]\.", None),
    (r"^decoder\.psp\.blocks\.(\d)\.pool\.1\.0\.", r"head.pools.projects.\1.conv."),
    (r"^decoder\.psp\.blocks\.(\d)\.pool\.1\.1\.", r"head.pools.projects.\1.bn."),
    (r"^decoder\.conv\.0\.", "head.fuse.conv.", map_first),
    (r"^decoder\.conv\.1\.", "head.fuse.bn."),
)

PAN: tuple[Rule, ...] = (
    (r"^decoder\.fpa\.branch1\.1\.", "head.attention.image_pool."),
    (r"^decoder\.fpa\.mid\.0\.", "head.attention.main."),
    *((rf"^decoder\.fpa\.down{i}\.1\.", f"head.attention.down.{i - 1}.") for i in (1, 2)),
    *((rf"^decoder\.fpa\.down3\.{i}\.", f"head.attention.down.2.{i - 1}.") for i in (1, 2)),
    *((rf"^decoder\.fpa\.conv{i}\.", f"head.attention.across.{i - 1}.") for i in (1, 2)),
    *((rf"^decoder\.gau{i}\.conv1\.1\.", f"head.upsample.{i - 1}.gate.") for i in (1, 2, 3)),
    *((rf"^decoder\.gau{i}\.conv2\.", f"head.upsample.{i - 1}.low.") for i in (1, 2, 3)),
)

FPN: tuple[Rule, ...] = (
    (r"^decoder\.p5\.", "neck.laterals.3.conv."),
    *((rf"^decoder\.p{i}\.skip_conv\.", f"neck.laterals.{i - 2}.conv.") for i in (2, 3, 4)),
    # Numbered from deep to shallow there, from shallow to deep here.
    *((rf"^decoder\.seg_blocks\.{i}\.block\.", f"head.paths.{3 - i}.block.") for i in range(4)),
    # Here the upsampling after every convolution is a module of its own and has a number.
    *((rf"^(head\.paths\.\d\.)block\.{i}\.block\.", rf"\g<1>{2 * i}.block.") for i in range(3)),
    (r"^(head\.paths\.\d\.\d\.)block\.0\.", r"\1conv."),
    (r"^(head\.paths\.\d\.\d\.)block\.1\.", r"\1bn."),
)

FPN_CAT: tuple[Rule, ...] = (*FPN, (r"^segmentation_head\.0\.weight$", "head.classifier.weight", shallow_first))

UPERNET: tuple[Rule, ...] = (
    (r"^decoder\.feature_norms\.", "head.norms."),
    (r"^decoder\.psp\.blocks\.(\d)\.1\.0\.", r"head.pools.projects.\1.conv."),
    (r"^decoder\.psp\.blocks\.(\d)\.1\.1\.", r"head.pools.projects.\1.bn."),
    (r"^decoder\.psp\.out_conv\.0\.", "head.fuse.conv."),
    (r"^decoder\.psp\.out_conv\.1\.", "head.fuse.bn."),
    # Numbered from deep to shallow there, from shallow to deep here.
    *((rf"^decoder\.fpn_lateral_blocks\.{i}\.conv_norm_relu\.", f"head.laterals.{2 - i}.") for i in range(3)),
    *((rf"^decoder\.fpn_conv_blocks\.{i}\.", f"head.outputs.{2 - i}.") for i in range(3)),
    (r"^decoder\.fusion_block\.", "head.merge."),
    (r"^(head\.(?:laterals|outputs)\.\d|head\.merge)\.0\.", r"\1.conv."),
    (r"^(head\.(?:laterals|outputs)\.\d|head\.merge)\.1\.", r"\1.bn."),
)

MIT: tuple[Rule, ...] = (
    (r"^encoder\.patch_embed1\.", "encoder.patch_embed."),
    *((rf"^encoder\.patch_embed{i + 1}\.", f"encoder.stages_{i}.downsample.") for i in (1, 2, 3)),
    *((rf"^encoder\.block{i + 1}\.", f"encoder.stages_{i}.blocks.") for i in range(4)),
    *((rf"^encoder\.norm{i + 1}\.", f"encoder.stages_{i}.norm.") for i in range(4)),
    (r"^(encoder\..*)\.dwconv\.dwconv\.", r"\1.dwconv."),
)
"""SegFormer's encoders, to the names of timm's pvt_v2."""

SEGFORMER: tuple[Rule, ...] = (
    # Numbered from deep to shallow there, from shallow to deep here.
    *((rf"^decoder\.mlp_stage\.{i}\.linear\.", f"head.projections.{3 - i}.") for i in range(4)),
    (r"^decoder\.fuse_stage\.0\.", "head.fuse.conv."),
    (r"^decoder\.fuse_stage\.1\.", "head.fuse.bn."),
    (r"^(head\.projections\.\d\.weight)$", r"\1", as_conv),
    (r"^(head\.fuse\.conv\.weight)$", r"\1", reversed_maps),
)

SEGFORMER_STEM: tuple[Rule, ...] = (
    *((rf"^decoder\.mlp_stage\.{i}\.linear\.", f"head.projections.{4 - i}.") for i in range(5)),
    *SEGFORMER[4:],
)

UNET_PLUS_PLUS: tuple[Rule, ...] = (
    # The last block concatenates no map: this gate is stored and never used.
    (r"^decoder\.blocks\.x_0_4\.attention1\.", None),
    (r"^decoder\.blocks\.x_", "head.blocks."),
    *UNET[2:-2],
    (r"^(head\.blocks\.\d_\d\.conv[12])\.0\.", r"\1.conv."),
    (r"^(head\.blocks\.\d_\d\.conv[12])\.1\.", r"\1.bn."),
)

LINKNET: tuple[Rule, ...] = (
    *(
        (rf"^decoder\.blocks\.(\d)\.block\.{i}\.{j}\.", rf"head.blocks.\1.{name}.{layer}.")
        for i, name in ((0, "reduce"), (2, "expand"))
        for j, layer in enumerate(("conv", "bn"))
    ),
    (r"^decoder\.blocks\.(\d)\.block\.1\.", r"head.blocks.\1.up."),
)

MANET: tuple[Rule, ...] = (
    *(
        (rf"^decoder\.center\.{theirs}_conv\.", f"head.attention.{ours}.")
        for theirs, ours in (("center", "queries"), ("top", "keys"), ("bottom", "values"), ("out", "out"))
    ),
    (r"^decoder\.blocks\.(\d)\.SE_hl\.", r"head.blocks.\1.gate_deep."),
    (r"^decoder\.blocks\.(\d)\.SE_ll\.", r"head.blocks.\1.gate_skip."),
    (r"^decoder\.blocks\.(\d)\.hl_conv\.", r"head.blocks.\1.reduce."),
    (r"^decoder\.blocks\.", "head.blocks."),
    (r"^(head\.blocks\.\d\.(?:conv[12]|reduce\.[01]))\.0\.", r"\1.conv."),
    (r"^(head\.blocks\.\d\.(?:conv[12]|reduce\.[01]))\.1\.", r"\1.bn."),
)

MAPS = {
    "smp_unet": KeyMap("segmentation_models, Unet", (*UNET, *COMMON), URL),
    "smp_unet_depth4": KeyMap(
        "segmentation_models, Unet of depth 4", ((r"^encoder\.layer4\.", None), *UNET, *COMMON), URL
    ),
    "smp_deeplabv3": KeyMap("segmentation_models, DeepLabV3", (*DEEPLABV3, *COMMON), URL),
    "smp_deeplabv3plus": KeyMap("segmentation_models, DeepLabV3Plus", (*DEEPLABV3PLUS, *COMMON), URL),
    "smp_pan": KeyMap("segmentation_models, PAN", (*PAN, *COMMON), URL),
    "smp_fpn": KeyMap("segmentation_models, FPN", (*FPN, *COMMON), URL, needs={"head.concat": False}),
    "smp_fpn_cat": KeyMap(
        "segmentation_models, FPN with concatenated maps", (*FPN_CAT, *COMMON), URL, needs={"head.concat": True}
    ),
    "smp_upernet": KeyMap("segmentation_models, UPerNet", (*UPERNET, *MIT, *COMMON), URL),
    "smp_segformer": KeyMap(
        "segmentation_models, Segformer", (*SEGFORMER, *MIT, *COMMON), URL, needs={"head.num_levels": 4}
    ),
    "smp_segformer_stem": KeyMap(
        "segmentation_models, Segformer that reads the stem, too",
        (*SEGFORMER_STEM, *COMMON),
        URL,
        needs={"head.num_levels": 5},
    ),
    "smp_unetplusplus": KeyMap("segmentation_models, UnetPlusPlus", (*UNET_PLUS_PLUS, *COMMON), URL),
    "smp_linknet": KeyMap("segmentation_models, Linknet", (*LINKNET, *COMMON), URL),
    "smp_manet": KeyMap(
        "segmentation_models, MAnet", (*MANET, *MIT, *COMMON), URL, needs={"head.attention.out.kernel_size": (3, 3)}
    ),
    **{
        f"smp_{name}_depth4": KeyMap(
            f"segmentation_models, {title} of depth 4", ((r"^encoder\.layer4\.", None), *rules, *COMMON), URL
        )
        for name, title, rules in (
            ("unetplusplus", "UnetPlusPlus", ((r"\.x_0_3\.attention1\.", None), *UNET_PLUS_PLUS)),
            ("linknet", "Linknet", LINKNET),
            ("manet", "MAnet", MANET),
        )
    },
    "smp_pspnet": KeyMap("segmentation_models, PSPNet", (*PSPNET, *COMMON), URL),
}
