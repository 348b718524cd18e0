"""Low-rank updates of linear layers, which train in place of their weights: optimizer.lora.

Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, ICLR 2022, https://arxiv.org/abs/2106.09685.
"""

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from segkit.registry import ConfigError
from segkit.settings import LoraSettings

ORIGINAL = ".parametrizations.weight.original"
UPDATE = ".parametrizations.weight.0."
MOST_NAMES = 6
"""Names that a message lists."""


class LowRank(nn.Module):
    """A weight plus scale * up @ down: section 4.1. It starts as the weight itself, since up starts at 0.

    Args:
        weight: float [D,C].
        rank: of the update.
        alpha: the scale is alpha / rank.
    """

    scale: Tensor

    def __init__(self, weight: Tensor, rank: int, alpha: float):
        super().__init__()
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.register_buffer("scale", weight.new_tensor(alpha / rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """Returns the updated weight, float [D,C]."""
        return updated(weight, self.up, self.down, self.scale)


def updated(weight: Tensor, up: Tensor, down: Tensor, scale: Tensor) -> Tensor:
    """Returns weight + scale * up @ down, float [D,C]; up: float [D,rank], down: float [rank,C]."""
    return weight + scale * (up @ down)


def add_updates(model: nn.Module, settings: LoraSettings) -> list[str]:
    """Freezes the weights of linear layers and gives each a low-rank update that trains.

    A weight counts wherever it is read: also where an attention multiplies with it without calling the layer.

    Args:
        model: the raw module.
        settings: optimizer.lora.

    Returns:
        The names of the layers.

    Raises:
        ConfigError: no linear layer has such a name, or the rank is larger than a layer.
    """
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    chosen = [name for name in linear if re.search(settings.match, name)]
    if not chosen:
        shown = f"{', '.join(list(linear)[:MOST_NAMES])}{', ...' if len(linear) > MOST_NAMES else ''}"
        raise ConfigError(
            f"optimizer.lora.match = '{settings.match}': no linear layer has such a name; the model has "
            f"{shown or 'no linear layer'}"
        )
    for name in chosen:
        module = linear[name]
        if settings.rank > min(module.weight.shape):
            width = min(module.weight.shape)
            raise ConfigError(f"optimizer.lora.rank = {settings.rank}: {name} is only {width} wide; give at most that")
        module.weight.requires_grad_(False)
        alpha = settings.rank if settings.alpha is None else settings.alpha
        parametrize.register_parametrization(module, "weight", LowRank(module.weight, settings.rank, alpha))
    return chosen


def merged(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Returns weights with the updates added, by the names of the model without them; others as they are.

    Args:
        weights: a state dict, of a model with or without updates.
    """
    done: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name.endswith(ORIGINAL):
            layer = name.removesuffix(ORIGINAL)
            up, down, scale = (weights[f"{layer}{UPDATE}{part}"] for part in ("up", "down", "scale"))
            dtype = torch.promote_types(value.dtype, torch.float32)
            done[f"{layer}.weight"] = updated(*(part.to(dtype) for part in (value, up, down, scale))).to(value.dtype)
        elif UPDATE not in name:
            done[name] = value
    return done
