"""Which config of segkit is the network that a config.json of the Hugging Face hub describes.

A new system adds its row to HUB_MODELS; its key map is found by names and shapes as for every other file.
"""

from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]


@dataclass(frozen=True)
class HubModel:
    """How a system of the hub becomes a config.

    Args:
        architecture: class that config.json names among its `architectures`; others of the same model_type, such as
            classifiers, have no head for segmentation.
        base: file of configs/_base_/models, without its ending.
        sizes: published sizes: values of config.json, and the options of section `model` that they mean. Dots lead into
            inner objects: "backbone_config.depths".
        copied: option of section `model` -> the key of config.json that holds its value.
        sides: the same of one number in config.json, which is height and width of the option.
        required: values that every published file has; another one is another network.
        defaults: what the keys of `sizes`, `copied` and `required` are where config.json leaves them out.
        flips: whether the network reads BGR; its key map turns the first convolution around.
        square: whether one number as size of the processor is a square, else it is the shorter side.
        finds: whether its queries find instances and panoptic segments as well as label maps.
    """

    architecture: str
    base: str
    sizes: tuple[tuple[Values, Values], ...]
    copied: dict[str, str] = field(default_factory=dict)
    sides: dict[str, str] = field(default_factory=dict)
    required: Values = field(default_factory=dict)
    defaults: Values = field(default_factory=dict)
    flips: bool = False
    square: bool = True
    finds: bool = False


NARROW, WIDE = [32, 64, 160, 256], [64, 128, 320, 512]
MIT: tuple[tuple[Values, Values], ...] = tuple(
    ({"depths": depths, "hidden_sizes": widths}, {"backbone.name": f"mit_b{i}"})
    for i, (depths, widths) in enumerate(
        (
            ([2, 2, 2, 2], NARROW),
            ([2, 2, 2, 2], WIDE),
            ([3, 4, 6, 3], WIDE),
            ([3, 4, 18, 3], WIDE),
            ([3, 8, 27, 3], WIDE),
            ([3, 6, 40, 3], WIDE),
        )
    )
)

SWIN: tuple[tuple[Values, Values], ...] = tuple(
    (
        {
            "backbone_config.model_type": "swin",
            "backbone_config.embed_dim": width,
            "backbone_config.depths": [2, 2, depth, 2],
            "backbone_config.window_size": window,
        },
        {"backbone.name": f"swin_{size}_patch4_window{window}_{384 if window == 12 else 224}"},
    )
    for size, width, depth in (("tiny", 96, 6), ("small", 96, 18), ("base", 128, 18), ("large", 192, 18))
    for window in ((7,) if width == 96 else (7, 12))
)
CONVNEXT: tuple[tuple[Values, Values], ...] = tuple(
    (
        {
            "backbone_config.hidden_sizes": [width, 2 * width, 4 * width, 8 * width],
            "backbone_config.depths": [3, 3, depth, 3],
        },
        {"backbone.name": f"convnext_{size}"},
    )
    for size, width, depth in (
        ("tiny", 96, 9),
        ("small", 96, 27),
        ("base", 128, 27),
        ("large", 192, 27),
        ("xlarge", 256, 27),
    )
)
RESNET: tuple[tuple[Values, Values], ...] = tuple(
    (
        {"backbone_config.model_type": "resnet", "backbone_config.depths": depths},
        {"backbone.name": f"resnet{layers}"},
    )
    for layers, depths in ((50, [3, 4, 6, 3]), (101, [3, 4, 23, 3]), (152, [3, 8, 36, 3]))
)
BOTTLENECKS: Values = {
    "backbone_config.model_type": "resnet",
    "backbone_config.layer_type": "bottleneck",
    "backbone_config.hidden_sizes": [256, 512, 1024, 2048],
    "backbone_config.embedding_size": 64,
    "backbone_config.downsample_in_first_stage": False,
    "backbone_config.downsample_in_bottleneck": False,
}
WIDTHS = ((384, 6, 12, "small"), (768, 12, 12, "base"), (1024, 16, 24, "large"))
"""Channels, heads and blocks of Vision Transformers, and their names."""

EOMT: Values = {
    "num_channels": 3,
    "patch_size": 16,
    "num_register_tokens": 4,
    "num_upscale_blocks": 2,
    "hidden_act": "gelu",
}
EOMT_USUAL: Values = {
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "num_queries": 200,
    "num_blocks": 4,
    "image_size": 640,
}
"""What EoMT's files on DINOv2 and DINOv3 share: required values, and what the keys are where they are left out."""

UPER: Values = {
    "pool_scales": [1, 2, 3, 6],
    "use_auxiliary_head": True,
    "auxiliary_channels": 256,
    "auxiliary_num_convs": 1,
    "auxiliary_concat_input": False,
}

HUB_MODELS: dict[str, tuple[HubModel, ...]] = {
    "segformer": (
        HubModel(
            "SegformerForSemanticSegmentation",
            "segformer_original_mit-b0",
            MIT,
            copied={"head.channels": "decoder_hidden_size"},
            required={
                "num_channels": 3,
                "mlp_ratios": [4, 4, 4, 4],
                "num_attention_heads": [1, 2, 5, 8],
                "sr_ratios": [8, 4, 2, 1],
                "patch_sizes": [7, 3, 3, 3],
                "strides": [4, 2, 2, 2],
                "hidden_act": "gelu",
            },
            defaults={"depths": [2, 2, 2, 2], "hidden_sizes": NARROW, "decoder_hidden_size": 256},
        ),
    ),
    "mask2former": tuple(
        HubModel(
            "Mask2FormerForUniversalSegmentation",
            base,
            sizes,
            copied={"head.num_queries": "num_queries"},
            required={
                **encoder,
                "hidden_dim": 256,
                "num_attention_heads": 8,
                "decoder_layers": 10,
                "dim_feedforward": 2048,
            },
            defaults={"num_queries": 100},
            finds=True,
        )
        for base, sizes, encoder in (
            ("mask2former_swin_t", SWIN, {"backbone_config.model_type": "swin"}),
            ("mask2former_r50", RESNET, BOTTLENECKS),
        )
    ),
    "maskformer": tuple(
        HubModel(
            "MaskFormerForInstanceSegmentation",
            base,
            sizes,
            copied={
                "head.num_queries": "decoder_config.num_queries",
                "head.layers": "decoder_config.decoder_layers",
                "head.inner": "decoder_config.decoder_ffn_dim",
                "head.dropout": "decoder_config.dropout",
            },
            required={
                **encoder,
                "fpn_feature_size": 256,
                "mask_feature_size": 256,
                "decoder_config.model_type": "detr",
                "decoder_config.d_model": 256,
                "decoder_config.decoder_attention_heads": 8,
                "decoder_config.activation_function": "relu",
            },
            defaults={
                "decoder_config.num_queries": 100,
                "decoder_config.decoder_layers": 6,
                "decoder_config.decoder_ffn_dim": 2048,
                "decoder_config.dropout": 0.1,
            },
            finds=True,
        )
        for base, sizes, encoder in (
            ("maskformer_swin_t", SWIN, {"backbone_config.model_type": "swin"}),
            ("maskformer_r50", RESNET, BOTTLENECKS),
        )
    ),
    "eomt": (
        HubModel(
            "EomtForUniversalSegmentation",
            "eomt_dinov2-l",
            tuple(
                (
                    {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": blocks},
                    {"backbone.name": f"vit_{size}_patch14_reg4_dinov2"},
                )
                for width, heads, blocks, size in WIDTHS
            ),
            copied={"head.num_queries": "num_queries", "head.num_blocks": "num_blocks"},
            sides={"backbone.img_size": "image_size"},
            required={
                **EOMT,
                "mlp_ratio": 4,
                "use_swiglu_ffn": False,
            },
            defaults=EOMT_USUAL,
            finds=True,
        ),
    ),
    "eomt_dinov3": (
        HubModel(
            "EomtDinov3ForUniversalSegmentation",
            "eomt_dinov3-l",
            tuple(
                (
                    {
                        "hidden_size": width,
                        "num_attention_heads": heads,
                        "num_hidden_layers": blocks,
                        "intermediate_size": 4 * width,
                    },
                    {"backbone.name": f"vit_{size}_patch16_dinov3_qkvb"},
                )
                for width, heads, blocks, size in WIDTHS
            ),
            copied={
                "backbone.norm_eps": "layer_norm_eps",
                "head.num_queries": "num_queries",
                "head.num_blocks": "num_blocks",
            },
            sides={"backbone.img_size": "image_size"},
            required={
                **EOMT,
                "query_bias": True,
                "key_bias": False,
                "value_bias": True,
                "proj_bias": True,
                "mlp_bias": True,
                "use_gated_mlp": False,
                "rope_theta": 100.0,
                "rope_parameters.rope_theta": 100.0,
            },
            defaults={
                **EOMT_USUAL,
                "intermediate_size": 4096,
                "layer_norm_eps": 1e-6,
                "rope_theta": 100.0,
                "rope_parameters.rope_theta": 100.0,
            },
            finds=True,
        ),
    ),
    "dpt": (
        HubModel(
            "DPTForSemanticSegmentation",
            "dpt_original_vit-b16",
            tuple(
                (
                    {"hidden_size": width, "num_attention_heads": heads, "num_hidden_layers": blocks},
                    {"backbone.name": f"vit_{size}_patch16_384"},
                )
                for width, heads, blocks, size in WIDTHS
            ),
            copied={
                "backbone.out_indices": "backbone_out_indices",
                "backbone.norm_eps": "layer_norm_eps",
                "neck.channels": "neck_hidden_sizes",
                "head.channels": "fusion_hidden_size",
                "head.dropout": "semantic_classifier_dropout",
                "head.auxiliary": "use_auxiliary_head",
            },
            sides={"backbone.img_size": "image_size"},
            required={
                "num_channels": 3,
                "patch_size": 16,
                "hidden_act": "gelu",
                "is_hybrid": False,
                "qkv_bias": True,
                "readout_type": "project",
                "reassemble_factors": [4, 2, 1, 0.5],
                "use_batch_norm_in_fusion_residual": True,
            },
            defaults={
                "hidden_size": 768,
                "num_attention_heads": 12,
                "num_hidden_layers": 12,
                "backbone_out_indices": [2, 5, 8, 11],
                "layer_norm_eps": 1e-12,
                "neck_hidden_sizes": [96, 192, 384, 768],
                "fusion_hidden_size": 256,
                "semantic_classifier_dropout": 0.1,
                "use_auxiliary_head": True,
                "use_batch_norm_in_fusion_residual": False,
                "image_size": 384,
            },
        ),
    ),
    "upernet": tuple(
        HubModel(
            "UperNetForSemanticSegmentation",
            base,
            sizes,
            copied={"head.channels": "hidden_size"},
            required={"backbone_config.model_type": encoder, **UPER},
            defaults={"hidden_size": 512, **usual},
        )
        for encoder, base, sizes, usual in (
            ("swin", "upernet_swin-t", SWIN, SWIN[0][0]),
            ("convnext", "upernet_convnext-t", CONVNEXT, CONVNEXT[0][0]),
        )
    ),
    "beit": (
        HubModel(
            "BeitForSemanticSegmentation",
            "upernet_beit-b",
            tuple(
                (
                    {
                        "hidden_size": width,
                        "num_attention_heads": heads,
                        "num_hidden_layers": blocks,
                        "out_indices": last,
                    },
                    # of the authors' code, which trained the weights: there these numbers count blocks from 0
                    {"backbone.name": f"beit_{size}_patch16_224", "backbone.out_indices": tuple(last)},
                )
                for (width, heads, blocks, size), last in zip(WIDTHS[1:], ([3, 5, 7, 11], [7, 11, 15, 23]))
            ),
            copied={"head.channels": "hidden_size", "backbone.norm_eps": "layer_norm_eps"},
            sides={"backbone.img_size": "image_size"},
            required={
                **UPER,
                "num_channels": 3,
                "patch_size": 16,
                "hidden_act": "gelu",
                "use_relative_position_bias": True,
                "use_shared_relative_position_bias": False,
                "use_absolute_position_embeddings": False,
            },
            defaults={
                "hidden_size": 768,
                "num_attention_heads": 12,
                "num_hidden_layers": 12,
                "layer_norm_eps": 1e-12,
                "image_size": 224,
                "use_relative_position_bias": False,
            },
        ),
    ),
    "mobilevit": (
        HubModel(
            "MobileViTForSemanticSegmentation",
            "deeplabv3_mobilevit-s",
            tuple(
                (
                    {"hidden_sizes": hidden, "neck_hidden_sizes": widths, "expand_ratio": ratio},
                    {"backbone.name": f"mobilevit_{size}"},
                )
                for size, hidden, widths, ratio in (
                    ("s", [144, 192, 240], [16, 32, 64, 96, 128, 160, 640], 4.0),
                    ("xs", [96, 120, 144], [16, 32, 48, 64, 80, 96, 384], 4.0),
                    ("xxs", [64, 80, 96], [16, 16, 24, 48, 64, 80, 320], 2.0),
                )
            ),
            copied={"head.channels": "aspp_out_channels", "head.rates": "atrous_rates"},
            required={"num_channels": 3, "output_stride": 16, "patch_size": 2, "hidden_act": "silu"},
            defaults={
                "hidden_sizes": [144, 192, 240],
                "neck_hidden_sizes": [16, 32, 64, 96, 128, 160, 640],
                "expand_ratio": 4.0,
                "aspp_out_channels": 256,
                "atrous_rates": [6, 12, 18],
            },
            flips=True,
            square=False,
        ),
    ),
}
"""model_type of config.json -> systems; of several the first whose required values the file has."""
