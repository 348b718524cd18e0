"""Promptable networks of transformers: SAM, SAM 2 and HQ-SAM, https://github.com/huggingface/transformers (Apache-2.0).

SAM: Kirillov et al., ICCV 2023, https://arxiv.org/abs/2304.02643. SAM 2: Ravi et al., 2024,
https://arxiv.org/abs/2408.00714. HQ-SAM: Ke et al., NeurIPS 2023, https://arxiv.org/abs/2306.01567.
"""

from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import nn

from segkit.registry import ConfigError, did_you_mean


class Kind(NamedTuple):
    """A family of networks.

    Attributes:
        config, model: names of its classes in transformers.
        keeps_aspect: whether images are scaled to the longer side and padded; otherwise they are squashed to a square.
        has_inner_maps: whether the decoder also reads maps from inside of the encoder, apart from its last one.
        is_tied: whether image and prompts share one table of frequencies.
    """

    config: str
    model: str
    keeps_aspect: bool
    has_inner_maps: bool
    is_tied: bool


NEEDS = 'model.type = PromptModel: needs the package transformers; run: pip install "segkit[promptable]"'

KINDS = {
    "sam": Kind("SamConfig", "SamModel", True, False, True),
    "sam_hq": Kind("SamHQConfig", "SamHQModel", True, True, True),
    "sam2": Kind("Sam2Config", "Sam2Model", False, False, False),
}
"""By the `model_type` of their description."""


def _vit(hidden: int, depth: int, heads: int, global_blocks: tuple[int, ...]) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": depth,
        "num_attention_heads": heads,
        "global_attn_indexes": list(global_blocks),
    }


def _hiera(width: int, heads: int, blocks: tuple[int, ...], global_blocks: tuple[int, ...], **more: Any) -> dict:
    widths = [width * 2**i for i in range(4)]
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": width,
        "num_attention_heads": heads,
        "blocks_per_stage": list(blocks),
        "embed_dim_per_stage": widths,
        "num_attention_heads_per_stage": [heads * 2**i for i in range(4)],
        "global_attention_blocks": list(global_blocks),
        **more,
    }
    return {"backbone_config": backbone, "backbone_channel_list": widths[::-1]}


_VITS = {
    "b": _vit(768, 12, 12, (2, 5, 8, 11)),
    "l": _vit(1024, 24, 16, (5, 11, 17, 23)),
    "h": _vit(1280, 32, 16, (7, 15, 23, 31)),
}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    **{f"sam-{size}": {"model_type": "sam", "vision_config": vit} for size, vit in _VITS.items()},
    **{
        f"sam-hq-{size}": {
            "model_type": "sam_hq",
            "vision_config": vit,
            "mask_decoder_config": {"vit_dim": vit["hidden_size"]},
        }
        for size, vit in _VITS.items()
    },
    "sam2-t": {"model_type": "sam2", "vision_config": _hiera(96, 1, (1, 2, 7, 2), (5, 7, 9))},
    "sam2-s": {"model_type": "sam2", "vision_config": _hiera(96, 1, (1, 2, 11, 2), (7, 10, 13))},
    "sam2-b+": {
        "model_type": "sam2",
        "vision_config": _hiera(
            112, 2, (2, 3, 16, 3), (12, 16, 20), window_positional_embedding_background_size=[14, 14]
        ),
    },
    "sam2-l": {
        "model_type": "sam2",
        "vision_config": _hiera(144, 2, (2, 6, 36, 4), (23, 33, 43), window_size_per_stage=[8, 4, 16, 8]),
    },
}
"""The published networks, by name: what differs from the defaults of transformers."""


def describe(architecture: str | dict[str, Any]) -> dict[str, Any]:
    """Returns the description of a network.

    Args:
        architecture: a name of ARCHITECTURES, or a description as in a config.json of transformers.

    Raises:
        ConfigError: there is no such name, or the description is of none of KINDS.
    """
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            hint = did_you_mean(architecture, ARCHITECTURES) or f"; available: {', '.join(ARCHITECTURES)}"
            raise ConfigError(f"model.architecture = '{architecture}': no such promptable network{hint}")
        return ARCHITECTURES[architecture]
    kind = architecture.get("model_type")
    if kind not in KINDS:
        raise ConfigError(f"model.architecture.model_type = {kind!r}: must be one of {', '.join(KINDS)}")
    return architecture


def build_network(description: dict[str, Any]) -> nn.Module:
    """Builds a network with random weights.

    Args:
        description: of `describe`.

    Raises:
        ConfigError: transformers is not installed, or refuses the description.
    """
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(NEEDS) from error
    kind = KINDS[description["model_type"]]
    arguments = {name: value for name, value in description.items() if name.endswith("_config")}
    try:
        config = getattr(transformers, kind.config)(**arguments)
        network: nn.Module = getattr(transformers, kind.model)(config)
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"model.architecture: transformers cannot build it: {error}") from error
    if kind.is_tied:
        # known by one name, since files hold the table once or twice
        prompts = cast(Any, network).prompt_encoder
        del prompts.shared_embedding
        prompts.__dict__["shared_embedding"] = cast(Any, network).shared_image_embedding
    return network


def load_pretrained(network: nn.Module, description: dict[str, Any], source: str | Path) -> None:
    """Loads the published weights of a network. Nothing in the files is executed: they are read as safetensors alone.

    Args:
        network: of `build_network`.
        description: of the same network.
        source: a folder with config.json and model.safetensors, or OWNER/NAME of the Hugging Face hub.

    Raises:
        ConfigError: the files cannot be had, or are those of another network.
    """
    import transformers

    try:
        cls = getattr(transformers, KINDS[description["model_type"]].model)
        weights = cls.from_pretrained(str(source), use_safetensors=True).state_dict()
        names = network.state_dict().keys()
        twin = "prompt_encoder.shared_embedding.positional_embedding"
        network.load_state_dict({name: value for name, value in weights.items() if name != twin or name in names})
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(
            f"model.pretrained = '{source}': cannot be read as the network of model.architecture ({reason}); give a "
            "folder with config.json and model.safetensors, or OWNER/NAME of the hub"
        ) from error
