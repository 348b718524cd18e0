"""Key maps of EoMT: the authors' files, on DINOv2 and DINOv3, and Hugging Face's, both ways.

The authors' files on DINOv3 hold what the training added to the encoder, since DINOv3's weights may not be passed on.
"""

from torch import Tensor

from segkit.convert.keymap import Form, KeyMap, Rule
from segkit.convert.maps.dino import (
    ADDED,
    DINOV2_JOINS,
    DINOV2_LAYERS,
    DINOV3_JOINS,
    DINOV3_LAYERS,
    DROPPED,
    ENCODER,
    QUERIES,
    ROTATED,
)

URL = "https://github.com/tue-mps/eomt"
HF_URL = "https://huggingface.co/tue-mps"


def with_batch(table: Tensor) -> Tensor:
    """Turns a position embedding [N,C] into [1,N,C]."""
    return table.unsqueeze(0)


def without_batch(table: Tensor) -> Tensor:
    """Turns a position embedding [1,N,C] into [N,C]."""
    return table.squeeze(0)


HEAD: tuple[Rule, ...] = (
    (r"^(?:network\.)?(?:encoder\.pixel_(?:mean|std)|criterion\.empty_weight)$", None),
    (r"^network\.", ""),
    (r"^attn_mask_probs$", "head.attn_mask_probs"),
    (r"^q\.weight$", "head.queries"),
    (r"^class_head\.", "head.classes."),
    (r"^mask_head\.", "head.masks."),
    (r"^upscale\.", "head.upscale."),
    (r"^(head\.upscale\.\d\.)conv1\.", r"\1up."),
    (r"^(head\.upscale\.\d\.)conv2\.", r"\1conv."),
)

DINOV3: tuple[Rule, ...] = (
    *DROPPED,
    *HEAD,
    (r"^encoder\.backbone\.patch_embed\.cls_token$", f"{ENCODER}cls_token"),
    (r"^encoder\.backbone\.patch_embed\.register_tokens$", f"{ENCODER}reg_token"),
    (r"^encoder\.backbone\.patch_embed\.patch_embeddings\.", f"{ENCODER}patch_embed.proj."),
    (r"^encoder\.backbone\.", ENCODER),
    *DINOV3_LAYERS,
)

HF: tuple[Rule, ...] = (
    *DROPPED,
    (r"^(?:criterion\.empty_weight|embeddings\.position_ids)$", None),
    (r"^attn_mask_probs$", "head.attn_mask_probs"),
    (r"^query\.weight$", "head.queries"),
    (r"^class_predictor\.", "head.classes."),
    (r"^mask_head\.fc1\.", "head.masks.0."),
    (r"^mask_head\.fc2\.", "head.masks.2."),
    (r"^mask_head\.fc3\.", "head.masks.4."),
    (r"^upscale_block\.block\.(\d)\.conv1\.", r"head.upscale.\1.up."),
    (r"^upscale_block\.block\.(\d)\.conv2\.", r"head.upscale.\1.conv."),
    (r"^upscale_block\.block\.(\d)\.layernorm2d\.", r"head.upscale.\1.norm."),
    (r"^embeddings\.cls_token$", f"{ENCODER}cls_token"),
    (r"^embeddings\.register_tokens$", f"{ENCODER}reg_token"),
    (r"^embeddings\.position_embeddings\.weight$", f"{ENCODER}pos_embed", with_batch),
    (r"^embeddings\.patch_embeddings\.(?:projection\.)?", f"{ENCODER}patch_embed.proj."),
    (r"^layers\.", f"{ENCODER}blocks."),
    (r"^(?:layernorm|norm)\.", f"{ENCODER}norm."),
)

MAPS = {
    "eomt": KeyMap("EoMT's authors, on DINOv2", (*HEAD, (r"^encoder\.backbone\.", ENCODER)), URL, needs=ADDED),
    "eomt_dinov3": KeyMap(
        "EoMT's authors, on DINOv3",
        DINOV3,
        URL,
        needs=ROTATED,
        joins=DINOV3_JOINS,
        adds_to="backbone.",
        base="DINOv3",
    ),
    "eomt_dinov3_whole": KeyMap(
        "EoMT's code, on DINOv3, one's own training", DINOV3, URL, needs=ROTATED, by_name=True, joins=DINOV3_JOINS
    ),
    "hf_eomt": KeyMap("Hugging Face, EoMT on DINOv2", (*HF, *DINOV2_LAYERS), HF_URL, needs=ADDED, joins=DINOV2_JOINS),
    "hf_eomt_dinov3": KeyMap(
        "Hugging Face, EoMT on DINOv3", (*HF, *DINOV3_LAYERS), HF_URL, needs=ROTATED, joins=DINOV3_JOINS
    ),
}

TO_HF: tuple[Rule, ...] = (
    (r"^head\.attn_mask_probs$", "attn_mask_probs"),
    (r"^head\.queries$", "query.weight"),
    (r"^head\.classes\.", "class_predictor."),
    (r"^head\.masks\.0\.", "mask_head.fc1."),
    (r"^head\.masks\.2\.", "mask_head.fc2."),
    (r"^head\.masks\.4\.", "mask_head.fc3."),
    (r"^head\.upscale\.(\d)\.up\.", r"upscale_block.block.\1.conv1."),
    (r"^head\.upscale\.(\d)\.conv\.", r"upscale_block.block.\1.conv2."),
    (r"^head\.upscale\.(\d)\.norm\.", r"upscale_block.block.\1.layernorm2d."),
    (r"^backbone\.encoder\.model\.norm\.", "layernorm."),
    (r"^backbone\.encoder\.model\.cls_token$", "embeddings.cls_token"),
    (r"^backbone\.encoder\.model\.reg_token$", "embeddings.register_tokens"),
    (r"^backbone\.encoder\.model\.pos_embed$", "embeddings.position_embeddings.weight", without_batch),
    (r"^backbone\.encoder\.model\.blocks\.", "layers."),
)

TO_HF_DINOV2: tuple[Rule, ...] = (
    *TO_HF,
    (r"^backbone\.encoder\.model\.patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^(layers\..*)\.ls(\d)\.gamma$", r"\1.layer_scale\2.lambda1"),
    (r"^(layers\..*)\.attn\.proj\.", r"\1.attention.out_proj."),
)

TO_HF_DINOV3: tuple[Rule, ...] = (
    *TO_HF,
    (r"^backbone\.encoder\.model\.patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^(layers\..*)\.gamma_(\d)$", r"\1.layer_scale\2.lambda1"),
    (r"^(layers\..*)\.attn\.proj\.", r"\1.attention.o_proj."),
    (r"^(layers\..*)\.attn\.([qv])_bias$", r"\1.attention.\2_proj.bias"),
    (r"^(layers\..*)\.mlp\.fc1\.", r"\1.mlp.up_proj."),
    (r"^(layers\..*)\.mlp\.fc2\.", r"\1.mlp.down_proj."),
)

EXPORTS: dict[str, Form] = {
    "hf_eomt": Form(KeyMap("to Hugging Face, EoMT on DINOv2", TO_HF_DINOV2, HF_URL, splits=QUERIES)),
    "hf_eomt_dinov3": Form(
        KeyMap(
            "to Hugging Face, EoMT on DINOv3",
            TO_HF_DINOV3,
            HF_URL,
            splits={name: parts for name, parts in QUERIES.items() if name.endswith("weight")},
        )
    ),
}
