"""Key maps of promptable networks of transformers, model.safetensors of SAM, HQ-SAM and SAM 2 -> PromptModel."""

from segkit.convert.keymap import KeyMap, Rule

URL = "https://huggingface.co/docs/transformers/model_doc/sam"

INSIDE: Rule = (
    r"^(?=(?:shared_image_embedding|vision_encoder|prompt_encoder|mask_decoder)\.|no_memory_embedding$)",
    "network.",
)

VIDEO = (
    *("memory_attention", "memory_encoder", "no_memory_positional_encoding", "memory_temporal_positional_encoding"),
    *("no_object_pointer", "mask_downsample", "object_pointer_proj", "temporal_positional_encoding_projection_layer"),
    "occlusion_spatial_embedding_parameter",
)
"""Parts of SAM 2 that follow objects through a video."""

MAPS = {
    "hf_sam": KeyMap(
        "transformers, SAM and HQ-SAM",
        (
            # the same tensor as shared_image_embedding's; some files hold both
            (r"^prompt_encoder\.shared_embedding\.positional_embedding$", None),
            INSIDE,
        ),
        URL,
    ),
    "hf_sam2": KeyMap(
        "transformers, SAM 2",
        (*((rf"^{name}(?:\.|$)", None) for name in VIDEO), INSIDE),
        "https://huggingface.co/docs/transformers/model_doc/sam2",
    ),
}
