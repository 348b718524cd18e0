"""Key map of Hugging Face's BEiT with UPerNet."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.dpt import BLOCK, HF_BLOCKS, QKV
from segkit.convert.maps.mmseg import HEADS
from segkit.convert.maps.mmseg_context import CONTEXT
from segkit.convert.maps.mmseg_transformers import INDEX

URL = "https://huggingface.co/microsoft/beit-base-finetuned-ade-640-640"

BEIT: tuple[Rule, ...] = (
    INDEX,
    (r"^beit\.(?:layernorm|pooler\.layernorm)\.", None),  # not read by the heads
    (r"^beit\.embeddings\.mask_token$", None),
    (r"^beit\.embeddings\.cls_token$", "backbone.encoder.model.cls_token"),
    (r"^beit\.embeddings\.patch_embeddings\.projection\.", "backbone.encoder.model.patch_embed.proj."),
    (r"^beit\.encoder\.layer\.", "backbone.encoder.model.blocks."),
    (BLOCK + r"\.attention\.attention\.relative_position_bias\.", r"\1.attn."),
    (BLOCK + r"\.attention\.attention\.query\.bias$", r"\1.attn.q_bias"),
    (BLOCK + r"\.attention\.attention\.value\.bias$", r"\1.attn.v_bias"),
    *HF_BLOCKS,
    (BLOCK + r"\.lambda_(\d)$", r"\1.gamma_\2"),
    (r"^fpn1\.", "neck.four_times."),
    (r"^fpn2\.0\.", "neck.twice."),
)

WEIGHT = ".attn.qkv.weight"

MAPS = {
    "hf_beit": KeyMap("Hugging Face, BEiT", (*BEIT, *CONTEXT, *HEADS), URL, joins={WEIGHT: QKV[WEIGHT]}),
}
