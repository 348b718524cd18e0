"""Key maps of DINOv2 and DINOv3, encoders alone: files of the authors, Hugging Face and timm.

They fit a backbone Timm with final_norm=True or QueryViT; the head is left out (init.drop = ["head"]).
"""

import math
from dataclasses import dataclass

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule

DINOV2_URL = "https://github.com/facebookresearch/dinov2"
DINOV3_URL = "https://github.com/facebookresearch/dinov3"

ENCODER = "backbone.encoder.model."
"""What timm's names begin with in a model."""

PARTS = ("weight", "bias")

DINOV2_LAYERS: tuple[Rule, ...] = (
    (r"\.layer_scale(\d)\.lambda1$", r".ls\1.gamma"),
    (r"\.attention\.(?:output\.dense|out_proj)\.", ".attn.proj."),
)
"""From Hugging Face's names of a block to timm's; queries, keys and values are joined by DINOV2_JOINS."""

DINOV2_JOINS = {f".attn.qkv.{part}": tuple(f".attention.{name}_proj.{part}" for name in "qkv") for part in PARTS}

DINOV3_LAYERS: tuple[Rule, ...] = (
    (r"\.layer_scale(\d)\.lambda1$", r".gamma_\1"),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
    (r"\.mlp\.up_proj\.", ".mlp.fc1."),
    (r"\.mlp\.down_proj\.", ".mlp.fc2."),
)

DINOV3_JOINS = {".attn.qkv.weight": DINOV2_JOINS[".attn.qkv.weight"]}

DROPPED: tuple[Rule, ...] = (
    (r"(?:^|\.)mask_token$", None),  # of the training without labels
    (r"(?:^|\.)rope_embed(?:dings)?\.(?:inv_freq|periods)$", None),  # follow from the size of a head
)

HF_DINOV2: tuple[Rule, ...] = (
    *DROPPED,
    (r"^(?:dinov2(?:_with_registers)?\.)?embeddings\.(cls_token)$", rf"{ENCODER}\1"),
    (r"^(?:dinov2(?:_with_registers)?\.)?embeddings\.register_tokens$", f"{ENCODER}reg_token"),
    (r"^(?:dinov2(?:_with_registers)?\.)?embeddings\.position_embeddings$", f"{ENCODER}pos_embed"),
    (r"^(?:dinov2(?:_with_registers)?\.)?embeddings\.patch_embeddings\.projection\.", f"{ENCODER}patch_embed.proj."),
    (r"^(?:dinov2(?:_with_registers)?\.)?encoder\.layer\.", f"{ENCODER}blocks."),
    (r"^(?:dinov2(?:_with_registers)?\.)?layernorm\.", f"{ENCODER}norm."),
    (r"\.attention\.attention\.query\.", ".attention.q_proj."),
    (r"\.attention\.attention\.key\.", ".attention.k_proj."),
    (r"\.attention\.attention\.value\.", ".attention.v_proj."),
    *DINOV2_LAYERS,
)

HF_DINOV3: tuple[Rule, ...] = (
    *DROPPED,
    (r"^embeddings\.cls_token$", f"{ENCODER}cls_token"),
    (r"^embeddings\.register_tokens$", f"{ENCODER}reg_token"),
    (r"^embeddings\.patch_embeddings\.", f"{ENCODER}patch_embed.proj."),
    (r"^(?:model\.)?layer\.", f"{ENCODER}blocks."),
    (r"^norm\.", f"{ENCODER}norm."),
    *DINOV3_LAYERS,
)

AUTHORS: tuple[Rule, ...] = (
    *DROPPED,
    (r"\.attn\.qkv\.bias_mask$", None),
    (r"^(?:head|local_cls_norm)\.", None),
    (r"^(?:register|storage)_tokens$", "reg_token"),
    (r"^", ENCODER),
)


CONVNEXT: tuple[Rule, ...] = (
    (r"^layer_norm\.", "backbone.norms.3."),
    (r"^(?:model\.)?stages\.0\.downsample_layers\.", "backbone.encoder.stem_"),
    (r"^(?:model\.)?stages\.(\d)\.downsample_layers\.", r"backbone.encoder.stages_\1.downsample."),
    (r"^(?:model\.)?stages\.(\d)\.layers\.", r"backbone.encoder.stages_\1.blocks."),
    (r"^(backbone\..*)\.depthwise_conv\.", r"\1.conv_dw."),
    (r"^(backbone\..*)\.layer_norm\.", r"\1.norm."),
    (r"^(backbone\..*)\.pointwise_conv(\d)\.", r"\1.mlp.fc\2."),
)
"""The final normalization follows the last of four maps (norm_levels = (-1,))."""

ADDED: dict[str, object] = {f"{ENCODER}rope": None}
"""What a model for DINOv2 lacks: positions are added there, those of DINOv3 are rotations."""

ROTATED: dict[str, object] = {f"{ENCODER}pos_embed": None}
"""What a model for DINOv3 lacks."""


@dataclass(frozen=True)
class RegistersKeyMap(KeyMap):
    """The map of DINOv2, whose class token has a position; with registers timm adds it to the token itself."""

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames, and adds the first row of the position embedding to the class token; see KeyMap.apply."""
        renamed = super().apply(weights)
        table, token = renamed.get(f"{ENCODER}pos_embed"), renamed.get(f"{ENCODER}cls_token")
        if table is None or token is None or f"{ENCODER}reg_token" not in renamed:
            return renamed
        if math.isqrt(table.shape[1]) ** 2 == table.shape[1]:  # patches alone: the file is timm's
            return renamed
        return renamed | {f"{ENCODER}cls_token": token + table[:, :1], f"{ENCODER}pos_embed": table[:, 1:]}


@dataclass(frozen=True)
class SeparateBiasKeyMap(KeyMap):
    """The map of DINOv3: queries and values have biases, keys have none, and the file's are one tensor."""

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Renames, and leaves out the biases of keys; see KeyMap.apply."""
        return {name: value for name, value in super().apply(weights).items() if not name.endswith(".attn.k_bias")}


BIASES: dict[str, tuple[tuple[str, int], ...]] = {
    ".attn.qkv.bias": ((".attn.q_bias", 1), (".attn.k_bias", 1), (".attn.v_bias", 1))
}

MAPS = {
    "hf_dinov2": RegistersKeyMap("Hugging Face, DINOv2", HF_DINOV2, DINOV2_URL, needs=ADDED, joins=DINOV2_JOINS),
    "hf_dinov3": KeyMap("Hugging Face, DINOv3", HF_DINOV3, DINOV3_URL, needs=ROTATED, joins=DINOV3_JOINS),
    "hf_dinov3_convnext": KeyMap("Hugging Face, DINOv3's ConvNeXt", CONVNEXT, DINOV3_URL),
    "dinov2_head": KeyMap(
        "DINOv2's authors, a linear head alone",
        ((r"^decode_head\.bn\.", "head.norm."), (r"^decode_head\.conv_seg\.", "head.classifier.")),
        DINOV2_URL,
    ),
    "dinov2": RegistersKeyMap("DINOv2's authors, or timm", AUTHORS, DINOV2_URL, needs=ADDED),
    "dinov3": SeparateBiasKeyMap(
        "DINOv3's authors, or timm",
        (*AUTHORS, (r"\.ls(\d)\.gamma$", r".gamma_\1")),
        DINOV3_URL,
        needs=ROTATED,
        splits=BIASES,
    ),
}

QUERIES: dict[str, tuple[tuple[str, int], ...]] = {
    whole: tuple((part, 1) for part in parts) for whole, parts in DINOV2_JOINS.items()
}
"""The way back of DINOV2_JOINS."""
