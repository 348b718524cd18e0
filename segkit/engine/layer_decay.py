"""Layer-wise decay of the learning rate: what lies closer to the image trains more slowly.

Bao et al., BEiT, ICLR 2022, https://arxiv.org/abs/2106.08254, section A. L blocks of an encoder.
"""

import re
from collections.abc import Callable, Sequence

from segkit.models import blocks
from segkit.registry import ConfigError
from segkit.settings import LayerDecaySettings

ENCODER = re.compile(r"^backbone\.(?:encoder\.)?(?:model\.)?(.+)$")
"""Names of an encoder's parameters; all others train at the full rate."""

BLOCK = re.compile(f"^(?:{blocks.BLOCK})")

STAGE = re.compile(r"^(?:stages?|layers?|s)[._]?(\d+)\.")

HALVING = re.compile(r"^(?:stages?|layers?)[._]?\d+\.downsample\.")
"""A layer between two stages that halves the map."""

NORMS = re.compile(r"^norms\.")
"""Normalizations behind the maps, which are none of the encoder's layers."""


def lr_factors(names: Sequence[str], settings: LayerDecaySettings) -> dict[str, float]:
    """Returns the factor of the learning rate of each parameter.

    "layer_wise", of BEiT and MAE: what stands before the first block (tokens, position tables, the patch embedding) is
    layer 0, the blocks are layers 1 to L in the order of the network, a layer between two blocks belongs to the second
    of them, and everything else is layer L + 1. The factor is rate ** (L + 1 - layer).

    "block_wise", of EoMT (Kerssies et al., CVPR 2025): the last block trains at the full rate, and what stands before
    the first block like that block: rate ** (L - max(layer, 1)).

    "stage_wise", of mmsegmentation's ConvNeXt: the stem and all layers that halve the map are layer 0, the blocks of
    stage i, counted from 0, are layer i + 1, and everything else is layer `layers` + 1. The factor is
    rate ** (layers + 1 - layer).

    Args:
        names: of the model's parameters, in the order of the network.
        settings: optimizer.layer_decay.

    Raises:
        ConfigError: the encoder's blocks or stages are not known by their names.
    """
    inner = {name: match[1] for name in names if (match := ENCODER.match(name)) and not NORMS.match(match[1])}
    layers, last = LAWS[settings.law](inner)
    if not last:
        raise ConfigError(
            f"optimizer.layer_decay.law = '{settings.law}': no parameter of the backbone has a name like blocks.0. or "
            "stages.0.blocks.0., so its layers are not known; give rows of optimizer.groups instead"
        )
    top = {"layer_wise": last + 1, "block_wise": last, "stage_wise": settings.layers + 1}[settings.law]
    if settings.law == "stage_wise" and last > settings.layers:
        raise ConfigError(
            f"optimizer.layer_decay.layers = {settings.layers}: the encoder has {last} stages; give at least {last}"
        )
    return {name: settings.rate ** (top - min(layers.get(name, top), top)) for name in names}


Layers = tuple[dict[str, int], int]
"""Layer of each parameter of the encoder that has one, and the number of the last."""


def _by_layer(inner: dict[str, str]) -> Layers:
    numbers: dict[str, int] = {}
    layers: dict[str, int] = {}
    waiting: list[str] = []
    for name, own in inner.items():
        match = BLOCK.match(own)
        if match is None:
            waiting.append(name)
            continue
        number = numbers.setdefault(match[0], len(numbers) + 1)
        layers[name] = number
        layers |= dict.fromkeys(waiting, number if number > 1 else 0)
        waiting = []
    return layers, len(numbers)


def _by_block(inner: dict[str, str]) -> Layers:
    layers, last = _by_layer(inner)
    return {name: max(layer, 1) for name, layer in layers.items()}, last


def _by_stage(inner: dict[str, str]) -> Layers:
    layers: dict[str, int] = {}
    for name, own in inner.items():
        stage = STAGE.match(own)
        layers[name] = 0 if stage is None or HALVING.match(own) else int(stage[1]) + 1
    return layers, max(layers.values(), default=0)


LAWS: dict[str, Callable[[dict[str, str]], Layers]] = {
    "layer_wise": _by_layer,
    "block_wise": _by_block,
    "stage_wise": _by_stage,
}
