"""Key maps of Segmenter: the authors' files, and mmsegmentation's."""

from torch import Tensor

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.dino import ENCODER
from segkit.convert.maps.mmseg import HEADS
from segkit.convert.maps.mmseg import URL as MMSEG_URL
from segkit.convert.maps.mmseg_transformers import VIT


def transposed(matrix: Tensor) -> Tensor:
    """Turns a matrix that rows are multiplied with, [C,D], into the weight of a linear layer, [D,C]."""
    return matrix.t().contiguous()


PATCH = f"{ENCODER}patch_embed.proj"

MASKS: tuple[Rule, ...] = (
    (r"^decode_head\.cls_emb$", "head.class_embedding"),
    (r"^decode_head\.dec_proj\.", "head.project."),
    (r"^decode_head\.patch_proj\.", "head.patches."),
    (r"^decode_head\.classes_proj\.", "head.classes."),
    (r"^decode_head\.decoder_norm\.", "head.norm."),
    (r"^decode_head\.mask_norm\.", "head.mask_norm."),
    (r"^decode_head\.layers\.(\d+)\.ln(\d)\.", r"head.layers.\1.norm\2."),
    (r"^decode_head\.layers\.(\d+)\.attn\.attn\.", r"head.layers.\1.attention."),
    (r"^decode_head\.layers\.(\d+)\.ffn\.layers\.0\.0\.", r"head.layers.\1.feed_forward.0."),
    (r"^decode_head\.layers\.(\d+)\.ffn\.layers\.1\.", r"head.layers.\1.feed_forward.2."),
)

AUTHORS: tuple[Rule, ...] = (
    (r"^encoder\.head(?:_dist)?\.", None),
    (r"^encoder\.", ENCODER),
    (r"^decoder\.cls_emb$", "head.class_embedding"),
    (r"^decoder\.proj_dec\.", "head.project."),
    (r"^decoder\.proj_patch$", "head.patches.weight", transposed),
    (r"^decoder\.proj_classes$", "head.classes.weight", transposed),
    (r"^decoder\.decoder_norm\.", "head.norm."),
    (r"^decoder\.mask_norm\.", "head.mask_norm."),
    (r"^decoder\.blocks\.(\d+)\.norm(\d)\.", r"head.layers.\1.norm\2."),
    (r"^decoder\.blocks\.(\d+)\.attn\.qkv\.", r"head.layers.\1.attention.in_proj_"),
    (r"^decoder\.blocks\.(\d+)\.attn\.proj\.", r"head.layers.\1.attention.out_proj."),
    (r"^decoder\.blocks\.(\d+)\.mlp\.fc1\.", r"head.layers.\1.feed_forward.0."),
    (r"^decoder\.blocks\.(\d+)\.mlp\.fc2\.", r"head.layers.\1.feed_forward.2."),
)

MAPS = {
    "segmenter": KeyMap("Segmenter's authors", AUTHORS, "https://github.com/rstrudel/segmenter"),
    "mmseg_segmenter": KeyMap(
        "mmsegmentation, Segmenter",
        ((r"^backbone\.ln1\.", f"{ENCODER}norm."), *VIT, *MASKS, *HEADS),
        MMSEG_URL,
        zeros={f"{PATCH}.bias": f"{PATCH}.weight"},
    ),
}
