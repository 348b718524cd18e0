"""Key maps of published files of Mask2Former and MaskFormer: mmsegmentation, mmdetection, Hugging Face, the authors."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.box2mask import PIXELS, QUERIES, RESNET, SWIN
from segkit.convert.maps.mmseg import URL as MMSEG_URL

HF_URL = "https://huggingface.co/models?search=facebook/mask"
URL = "https://github.com/facebookresearch/Mask2Former"

MMSEG_HEAD: tuple[Rule, ...] = (
    (r"^decode_head\.", "panoptic_head."),
    (r"^panoptic_head\.loss_\w+\.class_weight$", None),
    # files of mmdetection 2 have the names of BoxInstSeg already
    (r"(transformer_decoder\.layers\.\d+)\.cross_attn\.", r"\1.attentions.0."),
    (r"(transformer_decoder\.layers\.\d+)\.self_attn\.", r"\1.attentions.1."),
    (r"(pixel_decoder\.encoder\.layers\.\d+)\.self_attn\.", r"\1.attentions.0."),
    (r"^(panoptic_head\..*)\.ffn\.layers\.", r"\1.ffns.0.layers."),
)

HF_SWIN: tuple[Rule, ...] = (
    (r"^model\.pixel_level_module\.encoder\.(?:swin\.|model\.)?", "backbone."),
    (r"^backbone\.layernorm\.", None),  # of the last map of a classifier
    (r"\.relative_position_index$", None),
    (r"^backbone\.hidden_states_norms\.(\d)\.", r"backbone.norms.\1."),
    *((rf"^backbone\.hidden_states_norms\.stage{i + 1}\.", f"backbone.norms.{i}.") for i in range(4)),
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "backbone.encoder.patch_embed.proj."),
    (r"^backbone\.embeddings\.norm\.", "backbone.encoder.patch_embed.norm."),
    *(
        (rf"^backbone\.encoder\.layers\.{i}\.downsample\.", f"backbone.encoder.layers_{i + 1}.downsample.")
        for i in range(3)
    ),
    (r"^backbone\.encoder\.layers\.(\d)\.", r"backbone.encoder.layers_\1."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.attention\.self\.", ".attn."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"^(backbone\..*)\.output\.dense\.", r"\1.mlp.fc2."),
)

HF_RESNET: tuple[Rule, ...] = (
    (r"^model\.pixel_level_module\.encoder\.", "backbone."),
    (r"^backbone\.embedder\.embedder\.convolution\.", "backbone.encoder.conv1."),
    (r"^backbone\.embedder\.embedder\.normalization\.", "backbone.encoder.bn1."),
    *((rf"^backbone\.encoder\.stages\.{i}\.layers\.", f"backbone.encoder.layer{i + 1}.") for i in range(4)),
    (r"^(backbone\..*)\.shortcut\.convolution\.", r"\1.downsample.0."),
    (r"^(backbone\..*)\.shortcut\.normalization\.", r"\1.downsample.1."),
    *((rf"^(backbone\..*)\.layer\.{i}\.convolution\.", rf"\1.conv{i + 1}.") for i in range(3)),
    *((rf"^(backbone\..*)\.layer\.{i}\.normalization\.", rf"\1.bn{i + 1}.") for i in range(3)),
)

HF_DECODER = r"^model\.transformer_module\.decoder\."

HF_HEAD: tuple[Rule, ...] = (
    (r"^criterion\.", None),
    (r"^class_predictor\.", "head.classes."),
    (r"^model\.pixel_level_module\.decoder\.input_projections\.(\d)\.0\.", r"head.pixels.inputs.\1.conv."),
    (r"^model\.pixel_level_module\.decoder\.input_projections\.(\d)\.1\.", r"head.pixels.inputs.\1.norm."),
    (r"^model\.pixel_level_module\.decoder\.level_embed$", "head.pixels.level_embedding"),
    (r"^model\.pixel_level_module\.decoder\.adapter_1\.0\.", "head.pixels.lateral.conv."),
    (r"^model\.pixel_level_module\.decoder\.adapter_1\.1\.", "head.pixels.lateral.norm."),
    (r"^model\.pixel_level_module\.decoder\.layer_1\.0\.", "head.pixels.output.conv."),
    (r"^model\.pixel_level_module\.decoder\.layer_1\.1\.", "head.pixels.output.norm."),
    (r"^model\.pixel_level_module\.decoder\.mask_projection\.", "head.pixels.mask_features."),
    (r"^model\.pixel_level_module\.decoder\.encoder\.layers\.", "head.pixels.layers."),
    (r"^(head\.pixels\..*)\.self_attn_layer_norm\.", r"\1.norms.0."),
    (r"^(head\.pixels\..*)\.final_layer_norm\.", r"\1.norms.1."),
    (r"^(head\.pixels\..*)\.self_attn\.sampling_offsets\.", r"\1.attention.offsets."),
    (r"^(head\.pixels\..*)\.self_attn\.attention_weights\.", r"\1.attention.weights."),
    (r"^(head\.pixels\..*)\.self_attn\.value_proj\.", r"\1.attention.values."),
    (r"^(head\.pixels\..*)\.self_attn\.output_proj\.", r"\1.attention.out."),
    (r"^model\.transformer_module\.queries_embedder\.weight$", "head.query_embedding"),
    (r"^model\.transformer_module\.queries_features\.weight$", "head.query_features"),
    (r"^model\.transformer_module\.level_embed\.weight$", "head.level_embedding"),
    (HF_DECODER + r"layernorm\.", "head.norm."),
    *((HF_DECODER + rf"mask_predictor\.mask_embedder\.{i}\.0\.", f"head.masks.{2 * i}.") for i in range(3)),
    (HF_DECODER + r"layers\.", "head.layers."),
    (r"^(head\.layers\..*)\.cross_attn_layer_norm\.", r"\1.norms.0."),
    (r"^(head\.layers\..*)\.self_attn_layer_norm\.", r"\1.norms.1."),
    (r"^(head\.layers\..*)\.final_layer_norm\.", r"\1.norms.2."),
    (r"^(head\.layers\..*)\.cross_attn\.", r"\1.cross_attention."),
    (r"^(head\.layers\..*)\.self_attn\.", r"\1.self_attention."),
    (r"^(head\..*)\.fc1\.", r"\1.feed_forward.0."),
    (r"^(head\..*)\.fc2\.", r"\1.feed_forward.2."),
)

HF_JOINS = {
    f"{end}{part}": tuple(f"{name}{part.replace('_', '.')}" for name in names)
    for end, names, parts in (
        (".attn.qkv", (".attn.query", ".attn.key", ".attn.value"), (".weight", ".bias")),
        (
            ".self_attention.in_proj",
            (".self_attention.q_proj", ".self_attention.k_proj", ".self_attention.v_proj"),
            ("_weight", "_bias"),
        ),
        (
            ".cross_attention.in_proj",
            (".cross_attention.q_proj", ".cross_attention.k_proj", ".cross_attention.v_proj"),
            ("_weight", "_bias"),
        ),
    )
    for part in parts
}

DETECTRON_RESNET: tuple[Rule, ...] = (
    (r"^backbone\.stem\.conv1\.norm\.", "backbone.encoder.bn1."),
    (r"^backbone\.stem\.conv1\.", "backbone.encoder.conv1."),
    *((rf"^backbone\.res{i + 1}\.", f"backbone.encoder.layer{i}.") for i in range(1, 5)),
    (r"^(backbone\.encoder\.layer.*)\.shortcut\.norm\.", r"\1.downsample.1."),
    (r"^(backbone\.encoder\.layer.*)\.shortcut\.", r"\1.downsample.0."),
    (r"^(backbone\.encoder\.layer.*)\.conv(\d)\.norm\.", r"\1.bn\2."),
)

ORIGINAL_SWIN: tuple[Rule, ...] = (
    (r"\.relative_position_index$", None),
    (r"^backbone\.norm(\d)\.", r"backbone.norms.\1."),
    (r"^backbone\.patch_embed\.", "backbone.encoder.patch_embed."),
    *((rf"^backbone\.layers\.{i}\.downsample\.", f"backbone.encoder.layers_{i + 1}.downsample.") for i in range(3)),
    (r"^backbone\.layers\.(\d)\.", r"backbone.encoder.layers_\1."),
)

ORIGINAL_HEAD: tuple[Rule, ...] = (
    (r"^criterion\.", None),
    (r"^sem_seg_head\.pixel_decoder\.", "pixels."),
    (r"^pixels\.input_proj\.(\d)\.0\.", r"head.pixels.inputs.\1.conv."),
    (r"^pixels\.input_proj\.(\d)\.1\.", r"head.pixels.inputs.\1.norm."),
    (r"^pixels\.transformer\.level_embed$", "head.pixels.level_embedding"),
    (r"^pixels\.adapter_1\.norm\.", "head.pixels.lateral.norm."),
    (r"^pixels\.adapter_1\.", "head.pixels.lateral.conv."),
    (r"^pixels\.layer_1\.norm\.", "head.pixels.output.norm."),
    (r"^pixels\.layer_1\.", "head.pixels.output.conv."),
    (r"^pixels\.mask_features\.", "head.pixels.mask_features."),
    (r"^pixels\.transformer\.encoder\.layers\.", "head.pixels.layers."),
    (r"^(head\.pixels\..*)\.norm1\.", r"\1.norms.0."),
    (r"^(head\.pixels\..*)\.norm2\.", r"\1.norms.1."),
    (r"^(head\.pixels\..*)\.self_attn\.sampling_offsets\.", r"\1.attention.offsets."),
    (r"^(head\.pixels\..*)\.self_attn\.attention_weights\.", r"\1.attention.weights."),
    (r"^(head\.pixels\..*)\.self_attn\.value_proj\.", r"\1.attention.values."),
    (r"^(head\.pixels\..*)\.self_attn\.output_proj\.", r"\1.attention.out."),
    (r"^sem_seg_head\.predictor\.", "predictor."),
    (r"^predictor\.(?:query_feat|static_query)\.weight$", "head.query_features"),
    (r"^predictor\.query_embed\.weight$", "head.query_embedding"),
    (r"^predictor\.level_embed\.weight$", "head.level_embedding"),
    (r"^predictor\.decoder_norm\.", "head.norm."),
    (r"^predictor\.class_embed\.", "head.classes."),
    *((rf"^predictor\.mask_embed\.layers\.{i}\.", f"head.masks.{2 * i}.") for i in range(3)),
    (r"^predictor\.transformer_cross_attention_layers\.(\d+)\.norm\.", r"head.layers.\1.norms.0."),
    (r"^predictor\.transformer_self_attention_layers\.(\d+)\.norm\.", r"head.layers.\1.norms.1."),
    (r"^predictor\.transformer_ffn_layers\.(\d+)\.norm\.", r"head.layers.\1.norms.2."),
    (r"^predictor\.transformer_cross_attention_layers\.(\d+)\.multihead_attn\.", r"head.layers.\1.cross_attention."),
    (r"^predictor\.transformer_self_attention_layers\.(\d+)\.self_attn\.", r"head.layers.\1.self_attention."),
    (r"^predictor\.transformer_ffn_layers\.(\d+)\.", r"head.layers.\1."),
    (r"^(head\..*)\.linear1\.", r"\1.feed_forward.0."),
    (r"^(head\..*)\.linear2\.", r"\1.feed_forward.2."),
)

MASKFORMER: tuple[Rule, ...] = (
    (r"^decode_head\.loss_\w+\.class_weight$", None),
    (r"^decode_head\.pixel_decoder\.lateral_convs\.", "head.pixels.laterals."),
    (r"^decode_head\.pixel_decoder\.output_convs\.", "head.pixels.outputs."),
    (r"^decode_head\.pixel_decoder\.last_feat_conv\.", "head.pixels.deepest."),
    (r"^decode_head\.pixel_decoder\.mask_feature\.", "head.pixels.mask_features."),
    (r"^(head\.pixels\..*)\.gn\.", r"\1.norm."),
    (r"^decode_head\.decoder_input_proj\.", "head.project."),
    (r"^decode_head\.query_embed\.weight$", "head.query_embedding"),
    (r"^decode_head\.cls_embed\.", "head.classes."),
    (r"^decode_head\.mask_embed\.", "head.masks."),
    (r"^decode_head\.transformer_decoder\.post_norm\.", "head.norm."),
    (r"^decode_head\.transformer_decoder\.", "head."),
    (r"^(head\..*)\.(?:self_attn|attentions\.0)\.attn\.", r"\1.self_attention."),
    (r"^(head\..*)\.(?:cross_attn|attentions\.1)\.attn\.", r"\1.cross_attention."),
    (r"^(head\..*)\.(?:ffn|ffns\.0)\.layers\.0\.0\.", r"\1.feed_forward.0."),
    (r"^(head\..*)\.(?:ffn|ffns\.0)\.layers\.1\.", r"\1.feed_forward.3."),
)

HF_MASKFORMER: tuple[Rule, ...] = (
    (r"^criterion\.", None),
    (r"^class_predictor\.", "head.classes."),
    *((rf"^mask_embedder\.{i}\.0\.", f"head.masks.{2 * i}.") for i in range(3)),
    (r"^model\.pixel_level_module\.decoder\.fpn\.stem\.0\.", "head.pixels.deepest.conv."),
    (r"^model\.pixel_level_module\.decoder\.fpn\.stem\.1\.", "head.pixels.deepest.norm."),
    # there the deepest of three comes first
    *(
        (
            rf"^model\.pixel_level_module\.decoder\.fpn\.layers\.{i}\.{part}\.{j}\.",
            f"head.pixels.{ours}.{2 - i}.{layer}.",
        )
        for i in range(3)
        for part, ours in (("proj", "laterals"), ("block", "outputs"))
        for j, layer in enumerate(("conv", "norm"))
    ),
    (r"^model\.pixel_level_module\.decoder\.mask_projection\.", "head.pixels.mask_features."),
    (r"^model\.transformer_module\.input_projection\.", "head.project."),
    (r"^model\.transformer_module\.queries_embedder\.weight$", "head.query_embedding"),
    (HF_DECODER + r"layernorm\.", "head.norm."),
    (HF_DECODER + r"layers\.", "head.layers."),
    (r"^(head\.layers\..*)\.self_attn_layer_norm\.", r"\1.norms.0."),
    (r"^(head\.layers\..*)\.encoder_attn_layer_norm\.", r"\1.norms.1."),
    (r"^(head\.layers\..*)\.final_layer_norm\.", r"\1.norms.2."),
    (r"^(head\.layers\..*)\.self_attn\.", r"\1.self_attention."),
    (r"^(head\.layers\..*)\.encoder_attn\.", r"\1.cross_attention."),
    (r"^(head\.layers\..*)\.fc1\.", r"\1.feed_forward.0."),
    (r"^(head\.layers\..*)\.fc2\.", r"\1.feed_forward.3."),
)

MAPS = {
    "mmseg_mask2former": KeyMap(
        "mmsegmentation or mmdetection, Mask2Former", (*MMSEG_HEAD, *SWIN, *RESNET, *PIXELS, *QUERIES), MMSEG_URL
    ),
    "hf_mask2former": KeyMap("Hugging Face, Mask2Former on Swin", (*HF_HEAD, *HF_SWIN), HF_URL, joins=HF_JOINS),
    "hf_mask2former_resnet": KeyMap(
        "Hugging Face, Mask2Former on a ResNet", (*HF_HEAD, *HF_RESNET), HF_URL, joins=HF_JOINS
    ),
    "mask2former": KeyMap("Mask2Former's repository, ResNet", (*ORIGINAL_HEAD, *DETECTRON_RESNET), URL),
    "mask2former_swin": KeyMap("Mask2Former's repository, Swin", (*ORIGINAL_HEAD, *ORIGINAL_SWIN), URL),
    "mmseg_maskformer": KeyMap("mmsegmentation, MaskFormer", (*MASKFORMER, *SWIN, *RESNET), MMSEG_URL),
    "hf_maskformer_resnet": KeyMap(
        "Hugging Face, MaskFormer on a ResNet", (*HF_MASKFORMER, *HF_RESNET), HF_URL, joins=HF_JOINS
    ),
    "hf_maskformer": KeyMap("Hugging Face, MaskFormer on Swin", (*HF_MASKFORMER, *HF_SWIN), HF_URL, joins=HF_JOINS),
}
