"""Key maps of mmsegmentation 1.x for UPerNet on Swin, ConvNeXt, Twins and Vision Transformers (DeiT, BEiT, MAE)."""

from dataclasses import dataclass

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule, Writes
from segkit.convert.maps.box2mask import SWIN, merge_order, unfold_order
from segkit.convert.maps.mmseg import HEADS, URL
from segkit.convert.maps.mmseg_context import CONTEXT, CONTEXT_BACK

CONVNEXT: tuple[Rule, ...] = (
    (r"^backbone\.norm(\d)\.", r"backbone.norms.\1."),
    (r"^backbone\.downsample_layers\.0\.", "backbone.encoder.stem_"),
    (r"^backbone\.downsample_layers\.(\d)\.", r"backbone.encoder.stages_\1.downsample."),
    (r"^backbone\.stages\.(\d)\.", r"backbone.encoder.stages_\1.blocks."),
    (r"^(backbone\..*)\.depthwise_conv\.", r"\1.conv_dw."),
    (r"^(backbone\..*)\.pointwise_conv(\d)\.", r"\1.mlp.fc\2."),
)

VIT: tuple[Rule, ...] = (
    (r"^backbone\.ln1\.", "backbone.norms.3."),
    (r"^backbone\.(cls_token|pos_embed)$", r"backbone.encoder.model.\1"),
    (r"^backbone\.patch_embed\.projection\.", "backbone.encoder.model.patch_embed.proj."),
    (r"^backbone\.layers\.", "backbone.encoder.model.blocks."),
    (r"^(backbone\..*)\.ln(\d)\.", r"\1.norm\2."),
    (r"^(backbone\..*)\.attn\.attn\.in_proj_", r"\1.attn.qkv."),
    (r"^(backbone\..*)\.attn\.attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(backbone\..*)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(backbone\..*)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
)
"""The final normalization follows the last of four maps (norm_levels = (-1,))."""

NECK: tuple[Rule, ...] = (
    (r"^neck\.convs\.", "neck.outputs."),
    (r"^neck\.upsample_4x\.", "neck.four_times."),
    (r"^neck\.upsample_2x\.0\.", "neck.twice."),
)

SWIN_BACK = (
    (r"^backbone\.encoder\.patch_embed\.proj\.", "backbone.patch_embed.projection."),
    *((rf"^backbone\.encoder\.layers_{i + 1}\.downsample\.", f"backbone.stages.{i}.downsample.") for i in range(3)),
)

TWINS: tuple[Rule, ...] = (
    (r"^backbone\.norm_list\.(\d)\.", r"backbone.encoder.model.blocks.\1.norm."),
    (r"^backbone\.patch_embeds\.(\d)\.projection\.", r"backbone.encoder.model.patch_embeds.\1.proj."),
    (r"^backbone\.patch_embeds\.", "backbone.encoder.model.patch_embeds."),
    (r"^backbone\.position_encodings\.(\d)\.proj\.", r"backbone.encoder.model.pos_block.\1.proj.0."),
    (r"^backbone\.layers\.", "backbone.encoder.model.blocks."),
    (r"^(backbone\..*)\.attn\.attn\.out_proj\.", r"\1.attn.proj."),
    (r"^(backbone\..*)\.attn\.attn\.in_proj_", r"\1.attn.in_proj_"),
    (r"^(backbone\..*)\.ffn\.layers\.0\.0\.", r"\1.mlp.fc1."),
    (r"^(backbone\..*)\.ffn\.layers\.1\.", r"\1.mlp.fc2."),
)

PARTS = ("weight", "bias")
QUERY_AND_REST: dict[str, tuple[tuple[str, int], ...]] = {
    f".attn.in_proj_{part}": ((f".attn.q.{part}", 1), (f".attn.kv.{part}", 2)) for part in PARTS
}

PATCH = "backbone.encoder.model.patch_embed.proj"

NO_PATCH_BIAS = {f"{PATCH}.bias": f"{PATCH}.weight"}
"""Published Vision Transformers have no bias there, those of timm have one."""

INDEX: Rule = (r"\.relative_position_index$", None)
"""Follows from the size of the image."""

KEY_BIAS = ".attn.k_bias"


@dataclass(frozen=True)
class WithoutKeyBias(KeyMap):
    """Without the bias of keys, which no softmax over them shows and which timm's BEiT does not have."""

    def apply(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """As KeyMap.apply."""
        return {name: value for name, value in super().apply(weights).items() if not name.endswith(KEY_BIAS)}


MAPS = {
    "mmseg_swin": KeyMap(
        "mmsegmentation, UPerNet on Swin",
        (*SWIN, *CONTEXT, *HEADS),
        URL,
        undo={merge_order: unfold_order},
        back=(*SWIN_BACK, *CONTEXT_BACK),
        writes=(Writes("UPerHead", "swin_.*"),),
    ),
    "mmseg_convnext": KeyMap(
        "mmsegmentation, UPerNet on ConvNeXt",
        (*CONVNEXT, *CONTEXT, *HEADS),
        URL,
        back=CONTEXT_BACK,
        writes=(Writes("UPerHead", "convnext_.*"),),
    ),
    "mmseg_vit": KeyMap(
        "mmsegmentation, UPerNet on a Vision Transformer",
        (*VIT, *NECK, *CONTEXT, *HEADS),
        URL,
        zeros=NO_PATCH_BIAS,
        back=((r"^neck\.outputs\.", "neck.convs."), *CONTEXT_BACK),
        writes=(Writes("UPerHead", r"(deit|vit)_\w+_patch16_(224|384)(\..*)?"),),
    ),
    "mmseg_beit": WithoutKeyBias(
        "mmsegmentation, UPerNet on BEiT and MAE",
        (INDEX, *VIT, *NECK, *CONTEXT, *HEADS),
        URL,
        splits={".attn.qkv.bias": ((".attn.q_bias", 1), (KEY_BIAS, 1), (".attn.v_bias", 1))},
    ),
    "mmseg_twins": KeyMap(
        "mmsegmentation, Twins with UPerNet and Semantic FPN",
        (*TWINS, *CONTEXT, *HEADS),
        URL,
        splits=QUERY_AND_REST,
    ),
}
