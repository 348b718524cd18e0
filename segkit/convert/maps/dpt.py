"""Key maps of DPT: mmsegmentation 1.x, and Hugging Face, which has the authors' weights."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.mmseg import HEADS, URL
from segkit.convert.maps.mmseg_transformers import NO_PATCH_BIAS, VIT

HF_URL = "https://huggingface.co/Intel/dpt-large-ade"

MMSEG: tuple[Rule, ...] = (
    (r"^decode_head\.reassemble_blocks\.projects\.(\d)\.conv\.", r"neck.projects.\1."),
    (r"^decode_head\.reassemble_blocks\.resize_layers\.", "neck.resizes."),
    (r"^decode_head\.reassemble_blocks\.readout_projects\.", "neck.readouts."),
    (r"^decode_head\.convs\.(\d)\.conv\.", r"head.convs.\1."),
    (r"^decode_head\.fusion_blocks\.(\d)\.project\.conv\.", r"head.fusions.\1.project."),
    (r"^decode_head\.fusion_blocks\.(\d)\.res_conv_unit1\.", r"head.fusions.\1.skip."),
    (r"^decode_head\.fusion_blocks\.(\d)\.res_conv_unit2\.", r"head.fusions.\1.unit."),
    *((rf"^(head\.fusions\..*)\.conv{i + 1}\.", rf"\1.convs.{i}.") for i in range(2)),
)

BLOCK = r"^(backbone\.encoder\.model\.blocks\.\d+)"

HF_BLOCKS: tuple[Rule, ...] = (
    (BLOCK + r"\.attention\.attention\.", r"\1.attn."),
    (BLOCK + r"\.attention\.output\.dense\.", r"\1.attn.proj."),
    (BLOCK + r"\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (BLOCK + r"\.output\.dense\.", r"\1.mlp.fc2."),
    (BLOCK + r"\.layernorm_before\.", r"\1.norm1."),
    (BLOCK + r"\.layernorm_after\.", r"\1.norm2."),
)
"""Names inside of the blocks of Hugging Face's plain Vision Transformers, DPT's and BEiT's."""

HF: tuple[Rule, ...] = (
    (r"^dpt\.layernorm\.", None),  # not read by the heads
    (r"^neck\.fusion_stage\.layers\.0\.residual_layer1\.", None),  # has nothing to add to
    (r"^dpt\.pooler\.", None),
    (r"^dpt\.embeddings\.cls_token$", "backbone.encoder.model.cls_token"),
    (r"^dpt\.embeddings\.position_embeddings$", "backbone.encoder.model.pos_embed"),
    (r"^dpt\.embeddings\.patch_embeddings\.projection\.", "backbone.encoder.model.patch_embed.proj."),
    (r"^dpt\.encoder\.layer\.", "backbone.encoder.model.blocks."),
    *HF_BLOCKS,
    (r"^neck\.reassemble_stage\.readout_projects\.", "neck.readouts."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"neck.projects.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"neck.resizes.\1."),
    (r"^neck\.convs\.", "head.convs."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.projection\.", r"head.fusions.\1.project."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.residual_layer1\.", r"head.fusions.\1.skip."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.residual_layer2\.", r"head.fusions.\1.unit."),
    *((rf"^(head\.fusions\..*)\.convolution{i + 1}\.", rf"\1.convs.{i}.conv.") for i in range(2)),
    *((rf"^(head\.fusions\..*)\.batch_norm{i + 1}\.", rf"\1.convs.{i}.bn.") for i in range(2)),
    (r"^head\.head\.0\.", "head.project.conv."),
    (r"^head\.head\.1\.", "head.project.bn."),
    (r"^head\.head\.4\.", "head.classifier."),
    (r"^auxiliary_head\.head\.0\.", "head.second.0.conv."),
    (r"^auxiliary_head\.head\.1\.", "head.second.0.bn."),
    (r"^auxiliary_head\.head\.4\.", "head.second.2."),
)

QKV = {
    f".attn.qkv.{part}": tuple(f".attn.{name}.{part}" for name in ("query", "key", "value"))
    for part in ("weight", "bias")
}

MAPS = {
    "mmseg_dpt": KeyMap("mmsegmentation, DPT", (*MMSEG, *VIT, *HEADS), URL, zeros=NO_PATCH_BIAS),
    "hf_dpt": KeyMap("Hugging Face, DPT for segmentation", HF, HF_URL, joins=QKV),
}
