"""What mmsegmentation 1.x calls its heads, encoders and necks, and what their arguments are here.

Defaults are those of mmsegmentation 1.2.2, https://github.com/open-mmlab/mmsegmentation; values that both have by
construction are in `fixed`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from segkit.migrate.part import MISSING

Keys = Mapping[str, tuple[str, Any]]
"""mmsegmentation's argument -> segkit's argument and mmsegmentation's default, MISSING where there is none."""


@dataclass(frozen=True)
class Kind:
    """A class of mmsegmentation in segkit.

    Args:
        type: segkit's class.
        keys: arguments that both have.
        fixed: arguments that segkit has built in, with the values that may stand there; a missing one is the first.
        stated: those of `fixed` that must be there, because mmsegmentation's default is another value.
        derived: arguments that segkit takes from the model.
        constants: arguments here that mmsegmentation has built in.
        levels: how many feature maps a head reads: "one" sets `level`, "several" sets `levels`, "lower" sets
            `low_level` and `level`, "all" reads all of them, "last" is always the last one, "deepest" sets `levels` to
            the number of the deepest, "fixed" reads those of its default.
        norms: types that norm_cfg may name.
        acts: types that act_cfg may name.
        eps: of its normalizations.
        note: a sentence on what differs.
    """

    type: str
    keys: Keys = field(default_factory=dict)
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    stated: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    levels: str = "one"
    norms: tuple[str, ...] = ("BN", "SyncBN")
    acts: tuple[str, ...] = ("ReLU",)
    eps: float = 1e-5
    note: str = ""


_CHANNELS = {"channels": ("channels", MISSING)}
_CONCAT = {"concat_input": ("concat_input", True)}
_LN = {"type": "LN", "eps": 1e-6, "requires_grad": True}

HEADS: dict[str, Kind] = {
    "FCNHead": Kind(
        "FCNHead",
        {
            **_CHANNELS,
            **_CONCAT,
            "num_convs": ("num_convs", 2),
            "kernel_size": ("kernel", 3),
            "dilation": ("dilation", 1),
        },
    ),
    "DepthwiseSeparableFCNHead": Kind(
        "SeparableFCNHead",
        {**_CHANNELS, "num_convs": ("num_convs", 2)},
        {"concat_input": (False,), "kernel_size": (3,), "dilation": (1,), "dw_act_cfg": (None,)},
        stated=("concat_input",),
    ),
    "PSPHead": Kind("PSPHead", {**_CHANNELS, "pool_scales": ("bins", (1, 2, 3, 6))}),
    "ASPPHead": Kind("DeepLabV3Head", {**_CHANNELS, "dilations": ("rates", (1, 6, 12, 18))}),
    "DepthwiseSeparableASPPHead": Kind(
        "DeepLabV3PlusHead",
        {**_CHANNELS, "dilations": ("rates", (1, 6, 12, 18)), "c1_channels": ("low_channels", MISSING)},
        derived=("c1_in_channels",),
        levels="last",
    ),
    "ANNHead": Kind(
        "ANNHead",
        {
            **_CHANNELS,
            "project_channels": ("attention_channels", MISSING),
            "key_pool_scales": ("bins", (1, 3, 6, 8)),
        },
        {"query_scales": ((1,),)},
        levels="lower",
    ),
    "APCHead": Kind("APCHead", {**_CHANNELS, "pool_scales": ("sizes", (1, 2, 3, 6))}, {"fusion": (True,)}),
    "CCHead": Kind(
        "CCHead", {**_CHANNELS, **_CONCAT, "recurrence": ("recurrence", 2)}, {"num_convs": (2,), "kernel_size": (3,)}
    ),
    "DAHead": Kind("DAHead", {**_CHANNELS, "pam_channels": ("position_channels", MISSING)}),
    "DMHead": Kind("DMHead", {**_CHANNELS, "filter_sizes": ("sizes", (1, 3, 5, 7))}, {"fusion": (False,)}),
    "DNLHead": Kind(
        "DNLHead",
        {**_CHANNELS, **_CONCAT, "reduction": ("reduction", 2), "temperature": ("temperature", 0.05)},
        {"use_scale": (True,), "mode": ("embedded_gaussian",), "num_convs": (2,), "kernel_size": (3,)},
    ),
    "NLHead": Kind(
        "NonLocalHead",
        {**_CHANNELS, **_CONCAT, "reduction": ("reduction", 2)},
        {"use_scale": (True,), "mode": ("embedded_gaussian",), "num_convs": (2,), "kernel_size": (3,)},
    ),
    "GCHead": Kind(
        "GCHead",
        {**_CHANNELS, **_CONCAT, "ratio": ("ratio", 0.25)},
        {"pooling_type": ("att",), "fusion_types": (("channel_add",),), "num_convs": (2,), "kernel_size": (3,)},
    ),
    "EMAHead": Kind(
        "EMAHead",
        {
            **_CHANNELS,
            **_CONCAT,
            "ema_channels": ("attention_channels", MISSING),
            "num_bases": ("num_bases", MISSING),
            "num_stages": ("steps", MISSING),
            "momentum": ("momentum", 0.1),
        },
    ),
    "EncHead": Kind(
        "EncHead",
        {**_CHANNELS, "num_codes": ("num_codes", 32)},
        {"use_se_loss": (True,), "add_lateral": (False,)},
        levels="last",
    ),
    "ISAHead": Kind(
        "ISAHead",
        {**_CHANNELS, "isa_channels": ("attention_channels", MISSING), "down_factor": ("window", (8, 8))},
    ),
    "PSAHead": Kind(
        "PSAHead",
        {**_CHANNELS, "mask_size": ("mask_size", MISSING), "shrink_factor": ("shrink", 2)},
        {
            "psa_type": ("bi-direction",),
            "compact": (False,),
            "normalization_factor": (1.0,),
            "psa_softmax": (True,),
        },
    ),
    "OCRHead": Kind(
        "OCRHead",
        {**_CHANNELS, "ocr_channels": ("relation_channels", MISSING)},
        {"scale": (1,)},
        levels="several",
    ),
    "FPNHead": Kind("SemFPNHead", _CHANNELS, derived=("feature_strides",), levels="all"),
    "UPerHead": Kind("UPerHead", {**_CHANNELS, "pool_scales": ("bins", (1, 2, 3, 6))}, levels="all"),
    "PointHead": Kind(
        "PointRendHead",
        {**_CHANNELS, "num_fcs": ("num_layers", 3)},
        {"coarse_pred_each_layer": (True,)},
    ),
    "STDCHead": Kind(
        "DetailHead",
        _CHANNELS,
        {"num_convs": (1,), "concat_input": (False,), "kernel_size": (3,), "dilation": (1,)},
        stated=("num_convs", "concat_input"),
    ),
    "LightHamHead": Kind(
        "LightHamHead",
        {**_CHANNELS, "MD_R": ("num_bases", 64), "train_steps": ("steps", 6), "eval_steps": ("eval_steps", 7)},
        {"MD_S": (1,), "inv_t": (100,), "rand_init": (True,)},
        levels="deepest",
        norms=("GN",),
    ),
    "LRASPPHead": Kind(
        "LRASPPMergeHead", _CHANNELS, {"branch_channels": ((32, 64),)}, levels="fixed", norms=("SyncBN", "BN"), eps=1e-3
    ),
    "SETRUPHead": Kind(
        "SETRHead",
        {
            **_CHANNELS,
            "num_convs": ("num_convs", 1),
            "kernel_size": ("kernel", 3),
            "up_scale": ("scale", 4),
        },
        {"norm_layer": (_LN,)},
    ),
    "SETRMLAHead": Kind(
        "SETRMLAHead",
        {"mla_channels": ("channels", 128), "up_scale": ("scale", 4)},
        derived=("channels",),
        levels="all",
    ),
    "SegmenterMaskTransformerHead": Kind(
        "SegmenterHead",
        {
            "num_layers": ("layers", MISSING),
            "num_heads": ("heads", MISSING),
            "drop_path_rate": ("drop_path_rate", 0.1),
        },
        {
            "mlp_ratio": (4,),
            "drop_rate": (0,),
            "attn_drop_rate": (0,),
            "num_fcs": (2,),
            "qkv_bias": (True,),
            "init_std": (0.02,),
        },
        derived=("embed_dims", "channels"),
        norms=("LN",),
        acts=("GELU",),
    ),
    "DPTHead": Kind("DPTHead", _CHANNELS, levels="all"),
    "SegformerHead": Kind(
        "SegFormerHead", _CHANNELS, {"interpolate_mode": ("bilinear",)}, constants={"norm": True}, levels="all"
    ),
}
"""Heads."""

BACKBONES: dict[str, Kind] = {
    "BiSeNetV2": Kind(
        "BiSeNetV2",
        {
            "detail_channels": ("detail_channels", (64, 64, 128)),
            "semantic_channels": ("semantic_channels", (16, 32, 64, 128)),
            "semantic_expansion_ratio": ("expand", 6),
        },
        {"bga_channels": (128,), "out_indices": ((0, 1, 2, 3, 4),), "align_corners": (False,)},
    ),
    "CGNet": Kind(
        "CGNet",
        {
            "num_channels": ("channels", (32, 64, 128)),
            "num_blocks": ("blocks", (3, 21)),
            "dilations": ("dilations", (2, 4)),
            "reductions": ("reductions", (8, 16)),
        },
        {"norm_eval": (False,), "with_cp": (False,)},
        acts=("PReLU",),
        eps=1e-3,
    ),
    "ERFNet": Kind(
        "ERFNet",
        {"enc_non_bottleneck_dilations": ("dilations", (2, 4, 8, 16)), "dropout_ratio": ("dropout", 0.1)},
        {
            "enc_downsample_channels": ((16, 64, 128),),
            "enc_stage_non_bottlenecks": ((5, 8),),
            "enc_non_bottleneck_channels": ((64, 128),),
            "dec_upsample_channels": ((64, 16),),
            "dec_stages_non_bottleneck": ((2, 2),),
            "dec_non_bottleneck_channels": ((64, 16),),
        },
    ),
    "FastSCNN": Kind(
        "FastSCNN",
        {"align_corners": ("align_corners", False)},
        {
            "downsample_dw_channels": ((32, 48),),
            "global_in_channels": (64,),
            "global_block_channels": ((64, 96, 128),),
            "global_block_strides": ((2, 2, 1),),
            "global_out_channels": (128,),
            "higher_in_channels": (64,),
            "lower_in_channels": (128,),
            "fusion_out_channels": (128,),
            "out_indices": ((0, 1, 2),),
            "dw_act_cfg": (None,),
        },
    ),
}
"""Encoders whose arguments are translated one by one; those that need more have functions in segkit.migrate.model."""

BACKBONES |= {
    "MSCAN": Kind(
        "MSCAN",
        {
            "embed_dims": ("channels", (64, 128, 256, 512)),
            "depths": ("depths", (3, 4, 6, 3)),
            "mlp_ratios": ("mlp_ratios", (4, 4, 4, 4)),
            "drop_path_rate": ("drop_path_rate", 0.0),
        },
        {
            "drop_rate": (0,),
            "num_stages": (4,),
            "attention_kernel_sizes": ((5, (1, 7), (1, 11), (1, 21)),),
            "attention_kernel_paddings": ((2, (0, 3), (0, 5), (0, 10)),),
        },
        acts=("GELU",),
    ),
    "DDRNet": Kind(
        "DDRNet",
        {"channels": ("channels", 32), "ppm_channels": ("pool_channels", 128)},
        {"align_corners": (False,)},
    ),
    "PIDNet": Kind(
        "PIDNet",
        {
            "channels": ("channels", 64),
            "ppm_channels": ("pool_channels", 96),
            "num_stem_blocks": ("stem_blocks", 2),
            "num_branch_blocks": ("branch_blocks", 3),
        },
        {"align_corners": (False,)},
    ),
}

LEVELS: dict[str, tuple[int, ...]] = {
    "BiSeNetV1": (-1, -2, -3),
    "BiSeNetV2": (-1, -5, -4, -3, -2),
    "CGNet": (-3, -2, -1),
    "ERFNet": (-1,),
    "FastSCNN": (-3, -2, -1),
    "STDCContextPathNet": (-4, -3, -2, -1),
    "HRNet": (-4, -3, -2, -1),
    "MixVisionTransformer": (-4, -3, -2, -1),
    "ICNet": (-3, -2, -1),
    "MSCAN": (-4, -3, -2, -1),
    "DDRNet": (-2, -1),
    "PIDNet": (-3, -2, -1),
}
"""Of each of mmsegmentation's in_index the level here, by encoder; ResNets and U-Nets have as many as they say."""

NECKS: dict[str, Kind] = {
    "FPN": Kind(
        "FPN",
        {"out_channels": ("channels", MISSING), "num_outs": ("num_levels", MISSING)},
        {
            "start_level": (0,),
            "end_level": (-1,),
            "add_extra_convs": (False,),
            "extra_convs_on_inputs": (False,),
            "relu_before_extra_convs": (False,),
            "no_norm_on_lateral": (False,),
            "upsample_cfg": ({"mode": "nearest"},),
        },
    ),
    "JPU": Kind(
        "JPU",
        {"mid_channels": ("channels", 512), "dilations": ("dilations", (1, 2, 4, 8))},
        {"start_level": (0,), "end_level": (-1,)},
    ),
    "ICNeck": Kind("ICNeck", {"out_channels": ("channels", 128)}),
    "Feature2Pyramid": Kind("FeatureToPyramid", {}, {"rescales": ((4, 2, 1, 0.5),)}, derived=("embed_dim",)),
    "MultiLevelNeck": Kind("MultiLevelNeck", {"scales": ("scales", (0.5, 1, 2, 4))}, derived=("out_channels",)),
    "MLANeck": Kind("MLANeck", {"out_channels": ("channels", MISSING)}, {"norm_layer": (_LN,)}),
}
"""Necks."""

STDC_BLOCKS = {"STDCNet1": (2, 2, 2), "STDCNet2": (4, 5, 3)}
"""Blocks of each stage of STDC, by stdc_type."""

MIT = {
    (32, (2, 2, 2, 2)): "mit_b0",
    (64, (2, 2, 2, 2)): "mit_b1",
    (64, (3, 4, 6, 3)): "mit_b2",
    (64, (3, 4, 18, 3)): "mit_b3",
    (64, (3, 8, 27, 3)): "mit_b4",
    (64, (3, 6, 40, 3)): "mit_b5",
}
"""SegFormer's encoders by (embed_dims, num_layers)."""

STRIDES = {
    ((1, 2, 2, 2), (1, 1, 1, 1)): 32,
    ((1, 2, 2, 1), (1, 1, 1, 2)): 16,
    ((1, 2, 1, 1), (1, 1, 2, 4)): 8,
}
"""Output strides of ResNets, by (strides, dilations)."""

RESNETS = {
    ("ResNet", 64): "resnet{depth}",
    ("ResNetV1c", 64): "resnet{depth}c",
    ("ResNetV1c", 128): "resnet{depth}s",  # timm has no weights of these
    ("ResNetV1d", 64): "resnet{depth}d",
}
"""timm's names of mmcv's ResNets, by class and stem_channels."""
