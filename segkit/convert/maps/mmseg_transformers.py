"""Key maps of mmsegmentation 1.x for UPerNet on Swin, ConvNeXt and Vision Transformers."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.box2mask import SWIN
from segkit.convert.maps.mmseg import HEADS, URL
from segkit.convert.maps.mmseg_context import CONTEXT

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

NECK: tuple[Rule, ...] = ((r"^neck\.convs\.", "neck.outputs."),)

PATCH = "backbone.encoder.model.patch_embed.proj"

MAPS = {
    "mmseg_swin": KeyMap("mmsegmentation, UPerNet on Swin", (*SWIN, *CONTEXT, *HEADS), URL),
    "mmseg_convnext": KeyMap("mmsegmentation, UPerNet on ConvNeXt", (*CONVNEXT, *CONTEXT, *HEADS), URL),
    "mmseg_vit": KeyMap(
        "mmsegmentation, UPerNet on a Vision Transformer",
        (*VIT, *NECK, *CONTEXT, *HEADS),
        URL,
        zeros={f"{PATCH}.bias": f"{PATCH}.weight"},
    ),
}
