"""The batches of a training on its device: on a GPU they are copied while the step before is still computed."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from segkit.data.loader import to_device
from segkit.types import Batch


class DeviceBatches:
    """Takes batches from a loader, and moves those of the next step to the device ahead of time.

    A GPU computes the step while `prepare` reads and copies: on a stream of its own, from pinned memory. Other devices
    have nothing to gain; there, batches are read when they are taken, the first ones excepted.

    Args:
        loader: endless batches on the CPU.
        device: where they go.
        count: batches of a step.
        steps: that are left; nothing is read ahead beyond them.
    """

    def __init__(self, loader: Iterator[Batch], device: torch.device, count: int, steps: int):
        self.loader, self.device, self.count, self.steps = loader, device, count, steps
        self.is_ahead = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self.is_ahead else None
        self._next: list[Batch] | None = None
        self._error: Exception | None = None

    def start(self) -> None:
        """Reads the batches of the first step, so that the start of the reading processes is no part of it."""
        if self.steps > 0:
            self._next = self._read()

    def prepare(self) -> None:
        """Called when a step is queued: reads the next batches where a GPU is busy meanwhile.

        An error waits for `take`, since it belongs to the next step.
        """
        if not self.is_ahead or self._next is not None or self.steps <= 0:
            return
        try:
            self._next = self._read()
        except Exception as error:
            self._error = error

    def take(self) -> list[Batch]:
        """Returns the batches of the next step, on the device.

        Raises:
            Exception: what reading them raised.
        """
        if self._error is not None:
            raise self._error
        self.steps -= 1
        batches, self._next = self._next if self._next is not None else self._read(), None
        if self._stream is not None:
            stream = torch.cuda.current_stream(self.device)
            stream.wait_stream(self._stream)
            for tensor in _tensors(batches):
                tensor.record_stream(stream)  # its memory is not given away before the step is done with it
        return batches

    def _read(self) -> list[Batch]:
        context = contextlib.nullcontext() if self._stream is None else torch.cuda.stream(self._stream)
        with context:
            return [to_device(next(self.loader), self.device) for _ in range(self.count)]


def _tensors(batches: list[Batch]) -> Iterator[Tensor]:
    for batch in batches:
        for value in batch.values():
            items = value if isinstance(value, list) else [value]
            yield from (item for item in items if isinstance(item, Tensor))
