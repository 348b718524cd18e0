"""What a training does to its process: random generators, and signals that end it."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as torch_dist
from torch import Tensor

from segkit import dist

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
"""Signals that end a run after the current step: Ctrl-C, clusters and torchrun, a closed terminal, Slurm's --signal."""


class StopRequest:
    """Whether a run shall end, which all its processes decide together.

    A signal may reach one process alone, or each at another moment, and all must take the same number of steps. After
    every step each process sends whether it was asked, and reads the sum of the step before, which has arrived
    meanwhile: nobody waits for the slowest one, and a run ends one step after the request. The sums travel by gloo
    between CPUs, so that a GPU is not waited for.

    Attributes:
        is_asked: whether this process was asked to end the run.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._sent: tuple[Tensor, Any] | None = None
        self._group: Any = None
        if dist.is_distributed() and torch_dist.get_backend() != "gloo":
            self._group = torch_dist.new_group(backend="gloo")

    def is_agreed(self) -> bool:
        """Returns whether the run ends now; every process calls it once after each step."""
        if not dist.is_distributed():
            return self.is_asked
        dist.at("training")
        is_agreed = self._receive()
        if not is_agreed:
            self._send()
        return is_agreed

    def is_agreed_at_last(self) -> bool:
        """Returns whether any process was asked until now; every process calls it after the last step of a stage."""
        is_agreed = self.is_agreed()
        return is_agreed or self._receive()

    def _send(self) -> None:
        count = torch.tensor(int(self.is_asked))
        self._sent = count, torch_dist.all_reduce(count, group=self._group, async_op=True)

    def _receive(self) -> bool:
        if self._sent is None:
            return False
        (count, work), self._sent = self._sent, None
        work.wait()
        return bool(count)


@contextlib.contextmanager
def stopping_softly(loop: "Loop", request: StopRequest) -> Iterator[None]:
    """Lets the first signal of STOPPING end the run after the current step.

    In a run of one process the second one of a kind does what it does without segkit: Ctrl-C raises, the others end the
    process. Under torchrun, which passes signals on that the processes may have got already, all further ones are
    ignored; it kills what still runs 30 seconds later. SIGHUP stays ignored under nohup. A shell that starts a run in
    the background has Ctrl-C ignored, and a SIGINT that is sent to the run all the same ends it. Threads other than
    the main one are left to their owner.
    """

    def stop(number: int, frame: Any) -> None:
        request.is_asked = True
        if not dist.is_distributed():
            loop.is_stopping = True
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            signal.signal(number, previous[number])

    previous: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread
        for name in STOPPING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP and no SIGUSR1
            handler = None if number is None else signal.getsignal(number)
            is_nohup = name == "SIGHUP" and handler == signal.SIG_IGN
            if number is not None and handler is not None and not is_nohup:
                previous[number] = handler
                signal.signal(number, stop)
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
