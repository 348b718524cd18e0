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
        required: values that every published file has; another one is another network.
        defaults: what the keys of `sizes`, `copied` and `required` are where config.json leaves them out.
        flips: whether the network reads BGR; its key map turns the first convolution around.
        square: whether one number as size of the processor is a square, else it is the shorter side.
    """

    architecture: str
    base: str
    sizes: tuple[tuple[Values, Values], ...]
    copied: dict[str, str] = field(default_factory=dict)
    required: Values = field(default_factory=dict)
    defaults: Values = field(default_factory=dict)
    flips: bool = False
    square: bool = True


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
    "mask2former": (
        HubModel(
            "Mask2FormerForUniversalSegmentation",
            "mask2former_swin_t",
            SWIN,
            copied={"head.num_queries": "num_queries"},
            required={"hidden_dim": 256, "num_attention_heads": 8, "decoder_layers": 10, "dim_feedforward": 2048},
            defaults={"num_queries": 100},
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
