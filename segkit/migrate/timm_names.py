"""timm's names of the transformers, ConvNeXts, MobileNets and PoolFormers that mmsegmentation and mmpretrain build.

Each table: what an encoder is made of there -> its name here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SWIN = {
    (96, (2, 2, 6, 2), 7): "swin_tiny_patch4_window7_224",
    (96, (2, 2, 18, 2), 7): "swin_small_patch4_window7_224",
    (128, (2, 2, 18, 2), 7): "swin_base_patch4_window7_224",
    (128, (2, 2, 18, 2), 12): "swin_base_patch4_window12_384",
    (192, (2, 2, 18, 2), 7): "swin_large_patch4_window7_224",
    (192, (2, 2, 18, 2), 12): "swin_large_patch4_window12_384",
}
"""Swin by (embed_dims, depths, window_size)."""

VIT = {
    (192, 12, 3): "vit_tiny_patch16_{size}",
    (384, 12, 6): "vit_small_patch16_{size}",
    (768, 12, 12): "vit_base_patch16_{size}",
    (1024, 24, 16): "vit_large_patch16_{size}",
}
"""Vision Transformers by (embed_dims, num_layers, num_heads); size: of the images that their weights were made on."""

BEIT = {(768, 12, 12): "beit_base_patch16_224", (1024, 24, 16): "beit_large_patch16_224"}
"""BEiT by (embed_dims, num_layers, num_heads)."""

BEIT_SCALES = {"beit_base_patch16_224": 0.1, "beit_large_patch16_224": 1e-5}
"""What timm's layer scales start from."""

PCPVT = {
    ((64, 128, 320, 512), (3, 4, 6, 3)): "twins_pcpvt_small",
    ((64, 128, 320, 512), (3, 4, 18, 3)): "twins_pcpvt_base",
    ((64, 128, 320, 512), (3, 8, 27, 3)): "twins_pcpvt_large",
}
"""Twins-PCPVT by (embed_dims, depths)."""

SVT = {
    ((64, 128, 256, 512), (2, 2, 10, 4)): "twins_svt_small",
    ((96, 192, 384, 768), (2, 2, 18, 2)): "twins_svt_base",
    ((128, 256, 512, 1024), (2, 2, 18, 2)): "twins_svt_large",
}
"""Twins-SVT by (embed_dims, depths)."""

CONVNEXT = {size: f"convnext_{size}" for size in ("tiny", "small", "base", "large", "xlarge")}
"""ConvNeXt by arch."""

POOLFORMER = {size: f"poolformer_{size}" for size in ("s12", "s24", "s36", "m36", "m48")}
"""PoolFormer by arch."""

MOBILENET_V3 = {
    ("large", (1, 3, 16)): "tf_mobilenetv3_large_100",
    ("small", (0, 1, 12)): "tf_mobilenetv3_small_100",
}
"""MobileNetV3 by (arch, out_indices)."""

MOBILENET_V2: dict[tuple[Any, ...], dict[str, Any]] = {
    ((1, 2, 2, 2, 1, 2, 1), (1, 1, 1, 1, 1, 1, 1)): {"type": "Timm"},
    ((1, 2, 2, 1, 1, 1, 1), (1, 1, 1, 2, 2, 4, 4)): {
        "type": "TimmDilated",
        "output_stride": 8,
        # the first block of a stage alone is dilated there
        "dilations": ((2, 1, 1, 1, 2, 1, 1), (4, 1, 1, 4)),
    },
}
"""MobileNetV2 by (strides, dilations)."""

TAGS = {
    "swin": {"22k": ".ms_in22k", "": ".ms_in1k"},
    "convnext": {"in21k": ".fb_in22k", "": ".fb_in1k"},
    "beit": {"": ".in22k_ft_in22k"},
}
"""timm's names of weights by what stands in the file's name there."""


@dataclass(frozen=True)
class Family:
    """Encoders of one kind, whose sizes have names in timm.

    Args:
        type: segkit's class.
        names: by the values of `by`.
        by: mmsegmentation's arguments that tell the size, with their defaults.
        fixed: arguments that the kind has built in, with the values that may stand there; a missing one is the first.
        stated: those of `fixed` that must be there, because mmsegmentation's default is another value.
        constants: arguments here that mmsegmentation has built in.
        drop_path: mmsegmentation's default of drop_path_rate.
        norm: type and eps of its normalizations there; None where norm_cfg is not read.
        act: type of its activations.
        tag: key of TAGS.
    """

    type: str
    names: Mapping[Any, str]
    by: Mapping[str, Any]
    fixed: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    stated: tuple[str, ...] = ()
    constants: Mapping[str, Any] = field(default_factory=dict)
    drop_path: float = 0.0
    norm: tuple[str, float] = ("LN", 1e-5)
    act: str = "GELU"
    tag: str = ""


_NO_DROPOUT: dict[str, tuple[Any, ...]] = {"drop_rate": (0,), "attn_drop_rate": (0,)}
_FOUR_MAPS: dict[str, tuple[Any, ...]] = {"out_indices": ((0, 1, 2, 3),), "strides": ((4, 2, 2, 2),)}
_TWINS: dict[str, tuple[Any, ...]] = {
    **_NO_DROPOUT,
    **_FOUR_MAPS,
    "patch_sizes": ((4, 2, 2, 2),),
    "qkv_bias": (True,),
    "sr_ratios": ((8, 4, 2, 1),),
}

FAMILIES: dict[str, Family] = {
    "SwinTransformer": Family(
        "TimmSwin",
        SWIN,
        {"embed_dims": 96, "depths": (2, 2, 6, 2), "window_size": 7},
        {
            **_NO_DROPOUT,
            **_FOUR_MAPS,
            "patch_size": (4,),
            "mlp_ratio": (4,),
            "qkv_bias": (True,),
            "qk_scale": (None,),
            "patch_norm": (True,),
            "use_abs_pos_embed": (False,),
            "with_cp": (False,),
            "frozen_stages": (-1,),
            "pretrain_img_size": (224, 384),
        },
        drop_path=0.1,
        tag="swin",
    ),
    "PCPVT": Family(
        "Timm",
        PCPVT,
        {"embed_dims": (64, 128, 256, 512), "depths": (3, 4, 6, 3)},
        {**_TWINS, "mlp_ratios": ((8, 8, 4, 4),), "num_heads": ((1, 2, 5, 8),), "norm_after_stage": (False,)},
        stated=("qkv_bias", "mlp_ratios", "num_heads"),
        constants={"norm_eps": 1e-5},
    ),
    "SVT": Family(
        "TimmTwins",
        SVT,
        {"embed_dims": (64, 128, 256), "depths": (4, 4, 4)},
        {
            **_TWINS,
            "mlp_ratios": ((4, 4, 4, 4),),
            "num_heads": ((2, 4, 8, 16), (3, 6, 12, 24), (4, 8, 16, 32)),
            "windiow_sizes": ((7, 7, 7, 7),),
            "norm_after_stage": (True,),
        },
        stated=("qkv_bias", "mlp_ratios", "num_heads", "windiow_sizes", "sr_ratios"),
        drop_path=0.2,
    ),
    "ConvNeXt": Family(
        "Timm",
        CONVNEXT,
        {"arch": "tiny"},
        {
            "out_indices": ((0, 1, 2, 3),),
            "gap_before_final_norm": (False,),
            "stem_patch_size": (4,),
            "linear_pw_conv": (True,),
            "use_grn": (False,),
            "frozen_stages": (0,),
            "with_cp": (False,),
        },
        stated=("out_indices", "gap_before_final_norm"),
        constants={"norm_levels": (-4, -3, -2, -1)},
        norm=("LN2d", 1e-6),
        tag="convnext",
    ),
    "PoolFormer": Family(
        "Timm",
        POOLFORMER,
        {"arch": "s12"},
        {
            "out_indices": ((0, 2, 4, 6),),
            "pool_size": (3,),
            "in_patch_size": (7,),
            "in_stride": (4,),
            "in_pad": (2,),
            "down_patch_size": (3,),
            "down_stride": (2,),
            "down_pad": (1,),
            "drop_rate": (0,),
        },
        stated=("out_indices",),
        constants={"norm_levels": (-4, -3, -2, -1), "norm_groups": 1},
        norm=("GN", 1e-5),
    ),
}
"""Encoders whose sizes have names, by their class."""
