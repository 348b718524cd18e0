"""Says which stage of an export begins, since each may take minutes."""

import time
from collections.abc import Callable

from segkit.export.proof import Case

SILENCE = 30.0
"""Seconds after which a stage of several images is told again."""


class Stages:
    """Tells the stages of one export as they begin, each with the seconds since the export began.

    Args:
        say: takes one line for each stage.
    """

    def __init__(self, say: Callable[[str], None]):
        self._say, self._start = say, time.perf_counter()
        self._size: tuple[int, int] | None = None
        self._told = self._start

    def begin(self, stage: str) -> None:
        """Tells that a stage begins.

        Args:
            stage: what is done now, such as "tracing the network".
        """
        self._told = time.perf_counter()
        self._say(f"{self._told - self._start:6.1f} s  {stage}")

    def compare(self, case: Case, number: int, total: int) -> None:
        """Tells that images are compared, where the last ones had another size or nothing was told for half a minute.

        Args:
            case: the images that are compared next.
            number: of the case, from 1.
            total: number of all cases.
        """
        height, width = case.image.shape[-2:]
        if (height, width) != self._size or time.perf_counter() - self._told > SILENCE:
            self._size = (height, width)
            self.begin(f"comparing at size {height} x {width} ({number} of {total})")
