"""What a training does to its process: random generators, and signals that end it."""

import contextlib
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from segkit import dist

if TYPE_CHECKING:
    from segkit.engine.loop import Loop


@contextlib.contextmanager
def stopping_softly(loop: "Loop") -> Iterator[None]:
    """Lets the first Ctrl-C or SIGTERM end the run after the current step; the second one ends it at once.

    Runs of several processes are left to torchrun, and threads other than the main one to their owner.
    """

    def stop(number: int, frame: Any) -> None:
        loop.is_stopping = True
        signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    if dist.world_size() == 1:
        with contextlib.suppress(ValueError):  # not the main thread
            previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def rng_state() -> dict[str, Tensor]:
    """Returns the state of torch's generators: "cpu" and, where there is a GPU, "cuda"."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {})


def set_rng_state(state: dict[str, Tensor]) -> None:
    """Sets torch's generators to what rng_state returned."""
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
