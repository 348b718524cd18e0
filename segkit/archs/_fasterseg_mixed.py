"""Mixed operations of FasterSeg's search network: all five operations on shared slimmable weights, weighted."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segkit.archs._fasterseg_genotype import OPERATIONS
from segkit.archs._fasterseg_latency import Timed
from segkit.archs._fasterseg_operations import Slim, make_divisible, operation
from segkit.readers.latency_table import LatencyTable


class Choice(NamedTuple):
    """A width of a map.

    Attributes:
        width: its number, 0 for the narrowest.
        score: float [], factor that carries the gradient to the weights of the widths; None for a fixed width.
    """

    width: int
    score: Tensor | None = None


def gumbel_one_hot(logits: Tensor) -> Tensor:
    """Draws one of several by its probability, and lets gradients through as if it was the soft sample.

    Gumbel softmax of temperature 1, straight through: Jang et al., 2017, https://arxiv.org/abs/1611.01144.

    Args:
        logits: float [n].

    Returns:
        float [n], 1 at what was drawn and 0 elsewhere.
    """
    noise = torch.rand_like(logits)
    soft = (logits.log_softmax(-1) - (-(noise + 1e-20).log() + 1e-20).log()).softmax(-1)
    hard = F.one_hot(soft.argmax(-1), len(logits)).to(soft.dtype)
    return (hard - soft).detach() + soft


def chosen(probabilities: Tensor) -> Choice:
    """Returns the most probable width with its probability as score; probabilities: float [n]."""
    width = int(probabilities.argmax())
    return Choice(width, probabilities[width])


class MixedOperation(nn.Module):
    """The weighted sum of all operations.

    Args:
        in_channels, channels: at full width.
        stride: 1 or 2.
        widths: in twelfths, from the narrowest.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, widths: tuple[int, ...]):
        super().__init__()
        self.in_channels, self.channels, self.stride, self.widths = in_channels, channels, stride, widths
        self.operations = nn.ModuleList(
            operation(name, in_channels, channels, stride, Slim(widths)) for name in OPERATIONS
        )

    def forward(self, x: Tensor, weights: Tensor, before: Choice, after: Choice) -> Tensor:
        """Sums the operations.

        Args:
            x: float [B,C,h,w].
            weights: float [5], of the operations.
            before, after: widths of x and of the result; their scores are factors of the sum.

        Returns:
            float [B,C',h',w'].
        """
        factors = _factors(weights, before, after)
        terms = [module(x, after.width) * factor for module, factor in zip(self.operations, factors)]
        return sum(terms[1:], terms[0])

    def timed(self, before: int, after: int, size: tuple[int, int]) -> list[Timed]:
        """Returns what is timed of the operations.

        Args:
            before, after: numbers of the widths.
            size: (height, width) of the map.
        """
        in_channels = make_divisible(self.in_channels * self.widths[before] / 12)
        channels = make_divisible(self.channels * self.widths[after] / 12)
        return [Timed(name, in_channels, channels, size, self.stride) for name in OPERATIONS]

    def latency(
        self, table: LatencyTable, size: tuple[int, int], weights: Tensor, before: Choice, after: Choice
    ) -> Tensor:
        """Returns the milliseconds of the operations, weighted as in `forward`, float [].

        Args:
            table: of the machine.
            size: (height, width) of the map.
            weights, before, after: as in `forward`.
        """
        times = [table[timed.name] for timed in self.timed(before.width, after.width, size)]
        return sum(factor * time for factor, time in zip(_factors(weights, before, after), times))  # type: ignore


def _factors(weights: Tensor, before: Choice, after: Choice) -> list[Tensor]:
    """The weights of the operations times the scores, in the order of the authors' code."""
    factors = list(weights)
    for score in (before.score, after.score):
        if score is not None:
            factors = [factor * score for factor in factors]
    return factors
