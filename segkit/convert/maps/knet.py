"""Key maps of mmsegmentation 1.x for K-Net."""

from segkit.convert.keymap import KeyMap, Rule
from segkit.convert.maps.box2mask import SWIN
from segkit.convert.maps.mmseg import HEADS, RESNET, URL
from segkit.convert.maps.mmseg_context import CONTEXT

UPDATE = r"^(head\.stages\..*)\.kernel_update_conv\."

STAGES: tuple[Rule, ...] = (
    (r"^decode_head\.kernel_update_head\.", "head.stages."),
    (UPDATE + r"dynamic_layer\.", r"\1.update.of_features."),
    (UPDATE + r"input_layer\.", r"\1.update.of_kernels."),
    (UPDATE + r"input_gate\.", r"\1.update.kernel_gate."),
    (UPDATE + r"update_gate\.", r"\1.update.feature_gate."),
    (UPDATE + r"input_norm_in\.", r"\1.update.norm_kernel_gate."),
    (UPDATE + r"norm_in\.", r"\1.update.norm_feature_gate."),
    (UPDATE + r"input_norm_out\.", r"\1.update.norm_kernels."),
    (UPDATE + r"norm_out\.", r"\1.update.norm_features."),
    (UPDATE + r"fc_layer\.", r"\1.update.project."),
    (UPDATE + r"fc_norm\.", r"\1.update.norm."),
    (r"^(head\.stages\.\d)\.attention\.attn\.", r"\1.attention."),
    (r"^(head\.stages\.\d)\.attention_norm\.", r"\1.norms.0."),
    (r"^(head\.stages\.\d)\.ffn_norm\.", r"\1.norms.1."),
    (r"^(head\.stages\.\d)\.feat_transform\.conv\.", r"\1.transform."),
    (r"^(head\.stages\.\d)\.ffn\.layers\.0\.0\.", r"\1.feed_forward.0."),
    (r"^(head\.stages\.\d)\.ffn\.layers\.1\.", r"\1.feed_forward.2."),
    (r"^(head\.stages\.\d)\.mask_fcs\.", r"\1.mask_layers."),
    (r"^(head\.stages\.\d)\.fc_mask\.", r"\1.filters."),
)

# the generator is renamed as a head of its own
BEFORE: tuple[Rule, ...] = ((r"^decode_head\.kernel_generate_head\.", "decode_head."),)
AFTER: tuple[Rule, ...] = ((r"^head\.(?!stages\.)", "head.generator."),)

MAPS = {
    "mmseg_knet": KeyMap("mmsegmentation, K-Net", (*STAGES, *BEFORE, *RESNET, *CONTEXT, *HEADS, *AFTER), URL),
    "mmseg_knet_swin": KeyMap(
        "mmsegmentation, K-Net on Swin", (*STAGES, *BEFORE, *SWIN, *CONTEXT, *HEADS, *AFTER), URL
    ),
}
