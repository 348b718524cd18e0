"""The loss terms of a training: on the device until the log or a checkpoint asks for them, and checked then."""

import time
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit import dist


class NonFiniteLoss(RuntimeError):
    """A loss or weight that is NaN or infinite; the message names term, step and the files of the batch."""


class Pending(NamedTuple):
    """A step whose loss terms are still on the device."""

    step: int
    paths: list[str]
    terms: dict[str, Tensor]


class StepTerms:
    """Collects the terms of steps.

    Attributes:
        pending: steps whose terms are not read yet.
    """

    def __init__(self) -> None:
        self.pending: list[Pending] = []
        self._read: list[dict[str, float]] = []

    def add(self, step: int, paths: list[str], terms: dict[str, Tensor]) -> None:
        """Takes the terms of a step; hooks may add others to the dict until they are read.

        Args:
            step: number of the step.
            paths: files of its batch.
            terms: scalars by name.
        """
        self.pending.append(Pending(step, paths, terms))

    def drain(self, *, alone: bool = False) -> float:
        """Reads the terms from the device.

        Args:
            alone: whether this process calls it without the others.

        Returns:
            The seconds that it took.

        Raises:
            NonFiniteLoss: a term is not finite; the message names the first one and its files.
        """
        if not self.pending:
            return 0.0
        start = time.perf_counter()
        names = [(i, name) for i, step in enumerate(self.pending) for name in step.terms]
        values = torch.stack([self.pending[i].terms[name].float() for i, name in names]).tolist()
        bad = [k for k, (_, name) in enumerate(names) if name != "grad_norm" and not np.isfinite(values[k])]
        if len(bad) if alone else int(dist.all_reduce_sum(torch.tensor(len(bad)))):
            self._stop_at(*names[bad[0]]) if bad else self._stop_elsewhere()
        read: list[dict[str, float]] = [{} for _ in self.pending]
        for (i, name), value in zip(names, values):
            read[i][name] = value
        self._read += read
        self.pending.clear()
        return time.perf_counter() - start

    def averages(self) -> dict[str, float]:
        """Returns the mean of each term over the steps read since the last call."""
        names = dict.fromkeys(name for terms in self._read for name in terms)
        means = {name: float(np.mean([terms[name] for terms in self._read if name in terms])) for name in names}
        self._read = []
        return means

    def _stop_at(self, position: int, name: str) -> None:
        step = self.pending[position]
        raise NonFiniteLoss(
            f"loss term '{name}' is {float(step.terms[name])} at step {step.step}; batch: {', '.join(step.paths)}; "
            "nothing was saved after the last checkpoint. Lower optimizer.lr, set loop.clip, or look at these files"
        )

    def _stop_elsewhere(self) -> None:
        raise NonFiniteLoss("a loss is not finite on another process; see its message")
