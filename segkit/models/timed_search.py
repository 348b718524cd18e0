"""Search networks that know how long their operations take, beside what they predict."""

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from segkit.models.bases import Head, SearchBackbone
from segkit.readers.latency_table import LatencyTable


class TimedOperation(Protocol):
    """An operation that a latency table has a time of."""

    @property
    def in_channels(self) -> int:
        """Channels of what it reads."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of what it reads."""

    @property
    def name(self) -> str:
        """Its name in the table."""

    def module(self) -> nn.Module:
        """Returns the operation, which takes one map float [1,in_channels,*size]."""


class TimedSearch(SearchBackbone):
    """A search network whose architecture is also trained to be fast.

    Attributes:
        answers: names of the derived networks that the search may end with, as of SearchHead.answer; the last is
            taken where nothing is scored.
    """

    answers: tuple[str, ...]

    def timed(self, size: tuple[int, int], num_classes: int) -> Sequence[TimedOperation]:
        """Returns every operation that may be looked up, each once; size: (H, W) of the image, num_classes: K."""
        raise NotImplementedError(f"{type(self).__name__} gives no timed()")

    def expected_latency(self, table: LatencyTable, size: tuple[int, int]) -> Tensor:
        """Returns the milliseconds of the networks, weighted by the architecture, float []; size: (H, W)."""
        raise NotImplementedError(f"{type(self).__name__} gives no expected_latency()")

    def latencies(self, table: LatencyTable, size: tuple[int, int], num_classes: int) -> dict[str, float]:
        """Returns the milliseconds of the derived network of each of `answers`; arguments as of `timed`."""
        raise NotImplementedError(f"{type(self).__name__} gives no latencies()")

    def genotypes(self, answer: str) -> dict[str, dict[str, Any]]:
        """Returns the genotypes that the search has found, by file name; answer: one of `answers`."""
        raise NotImplementedError(f"{type(self).__name__} gives no genotypes()")


class SearchHead(Head):
    """The head of a TimedSearch.

    Attributes:
        answer: which derived network "logits" stand for in evaluation.
    """

    answer: str
