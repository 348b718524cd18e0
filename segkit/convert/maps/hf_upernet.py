"""Key maps of Hugging Face's UPerNet on Swin and ConvNeXt."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.dpt import QKV
from segkit.convert.maps.mmseg import HEADS
from segkit.convert.maps.mmseg_context import CONTEXT

URL = "https://huggingface.co/openmmlab/upernet-swin-tiny"

NORMS: tuple[Rule, ...] = tuple(
    (rf"^backbone\.hidden_states_norms\.stage{i + 1}\.", f"backbone.norms.{i}.") for i in range(4)
)

SWIN: tuple[Rule, ...] = (
    (r"\.relative_position_index$", None),  # follows from the size of the windows
    (r"^backbone\.(?:swin\.)?layernorm\.", None),  # not read by the heads
    *NORMS,
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "backbone.encoder.patch_embed.proj."),
    (r"^backbone\.embeddings\.norm\.", "backbone.encoder.patch_embed.norm."),
    # there a stage ends with patch merging, here the next one begins with it
    *(
        (rf"^backbone\.encoder\.layers\.{i}\.downsample\.", f"backbone.encoder.layers_{i + 1}.downsample.")
        for i in range(3)
    ),
    (r"^backbone\.encoder\.layers\.(\d)\.", r"backbone.encoder.layers_\1."),
    (r"^(backbone\..*)\.layernorm_before\.", r"\1.norm1."),
    (r"^(backbone\..*)\.layernorm_after\.", r"\1.norm2."),
    (r"^(backbone\..*)\.attention\.output\.dense\.", r"\1.attn.proj."),
    (r"^(backbone\..*)\.attention\.self\.", r"\1.attn."),
    (r"^(backbone\..*)\.intermediate\.dense\.", r"\1.mlp.fc1."),
    (r"^(backbone\..*)\.output\.dense\.", r"\1.mlp.fc2."),
)

CONVNEXT: tuple[Rule, ...] = (
    *NORMS,
    (r"^backbone\.embeddings\.patch_embeddings\.", "backbone.encoder.stem_0."),
    (r"^backbone\.embeddings\.layernorm\.", "backbone.encoder.stem_1."),
    (r"^backbone\.encoder\.stages\.(\d)\.downsampling_layer\.", r"backbone.encoder.stages_\1.downsample."),
    (r"^backbone\.encoder\.stages\.(\d)\.layers\.", r"backbone.encoder.stages_\1.blocks."),
    (r"^(backbone\..*)\.layer_scale_parameter$", r"\1.gamma"),
    (r"^(backbone\..*)\.dwconv\.", r"\1.conv_dw."),
    (r"^(backbone\..*)\.layernorm\.", r"\1.norm."),
    (r"^(backbone\..*)\.pwconv(\d)\.", r"\1.mlp.fc\2."),
)

HEAD: tuple[Rule, ...] = ((r"\.batch_norm\.", ".bn."), *CONTEXT, *HEADS)

MAPS = {
    "hf_upernet_swin": KeyMap("Hugging Face, UPerNet on Swin", (*SWIN, *HEAD), URL, joins=QKV),
    "hf_upernet_convnext": KeyMap(
        "Hugging Face, UPerNet on ConvNeXt", (*CONVNEXT, *HEAD), URL.replace("swin", "convnext")
    ),
}
