"""Which process of a run keeps the others waiting: each says where it is, and one that waited too long reads it."""

import json
import os
import sys
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import NamedTuple

import torch
import torch.distributed as torch_dist

from segkit import dist

BEAT = 2.0
"""Seconds between two signs of life of a process."""

ANSWER = 10.0
"""Seconds that the store may take to answer."""

TORCH = os.path.dirname(torch.__file__)

WAITING = (os.path.join(TORCH, "distributed"), os.path.join(TORCH, "autograd"), dist.__file__)
"""Code in which a process waits for the others; in the backward pass gradients are averaged."""

LIBRARIES = (TORCH, os.path.dirname(os.__file__))
"""Code that says less about where a process is than the one that called it."""


class Sign(NamedTuple):
    """What a process says of itself every few seconds.

    Attributes:
        number: counts the signs.
        phase: points that it has passed, see dist.at.
        place: name of the last of them.
        code: file and line that its main thread runs.
        waits: whether that line waits for other processes.
    """

    number: int
    phase: int
    place: str
    code: str
    waits: bool


def code_of(frame: FrameType | None) -> tuple[str, bool]:
    """Returns where a thread is, outside of libraries, and whether it waits for other processes."""
    waits = False
    while frame is not None:
        file = frame.f_code.co_filename
        waits = waits or file.startswith(WAITING) or frame.f_code.co_name == "_receive"
        if not file.startswith(LIBRARIES) and file != dist.__file__ and not file.startswith("<"):
            return f"{file}:{frame.f_lineno} ({frame.f_code.co_name})", waits
        frame = frame.f_back
    return "", waits


def behind(signs: dict[int, Sign], silent: Sequence[int], own: int) -> list[int]:
    """Returns the processes that keep the others waiting.

    Args:
        signs: the newest sign of each process.
        silent: those that gave no new one.
        own: the process that asks, which waits.

    Returns:
        Those without a sign of life; else those that have passed fewer points than another one; else those that do not
        wait; in none of these cases ().
    """
    others = {number: sign for number, sign in signs.items() if number != own}
    if silent:
        return sorted(silent)
    last = max((sign.phase for sign in signs.values()), default=0)
    late = [number for number, sign in others.items() if sign.phase < last]
    return sorted(late or [number for number, sign in others.items() if not sign.waits])


class Watch:
    """Gives signs of life of this process, and reads those of others.

    Args:
        store: of this start of the group, by a connection of its own.
        rank, size: number of this process, and of all.
        limit: seconds after which a process that waits in a group other than gloo says so; 0 for never. gloo ends the
            wait by an error, nccl ends the process.
        beat: seconds between two signs.
    """

    def __init__(self, store: torch_dist.Store, rank: int, size: int, limit: float = 0.0, beat: float = BEAT):
        self.store, self.rank, self.size, self.limit, self.beat = store, rank, size, limit, beat
        self._main = threading.main_thread().ident
        self._end = threading.Event()
        self._number = 0
        self._last, self._since, self._has_spoken = (-1, ""), time.monotonic(), False
        self._thread = threading.Thread(target=self._run, daemon=True, name="signs of life")

    def start(self) -> None:
        """Begins to give signs of life."""
        self._thread.start()

    def stop(self) -> None:
        """Ends them."""
        self._end.set()
        self._thread.join(ANSWER)

    def _run(self) -> None:
        while True:
            try:
                self._say()
                # before nccl ends this process; one that works does not stay at a line for so long
                if self.limit and time.monotonic() - self._since > self.limit - 4 * self.beat and not self._has_spoken:
                    self._has_spoken = True
                    print(f"[rank {self.rank}] {self.reason(self.limit)}", file=sys.stderr, flush=True)
            except RuntimeError:
                return  # the process that holds the store has ended
            if self._end.wait(self.beat):
                return

    def _say(self) -> None:
        code, waits = code_of(sys._current_frames().get(self._main or 0))
        phase, place = dist.progress()
        if (phase, code) != self._last:
            self._last, self._since = (phase, code), time.monotonic()
        self._number += 1
        self.store.set(f"sign/{self.rank}", json.dumps(Sign(self._number, phase, place, code, waits)))

    def read(self) -> dict[int, Sign]:
        """Returns the newest sign of each process that has given one."""
        found = {}
        for number in range(self.size):
            if self.store.check([f"sign/{number}"]):
                found[number] = Sign(*json.loads(self.store.get(f"sign/{number}")))
        return found

    def reason(self, seconds: float) -> str:
        """Returns who keeps this process waiting, as a sentence; takes a few beats, to see who still gives signs.

        Args:
            seconds: how long this process has waited.
        """
        size = f"(this one is process {self.rank} of 0 to {self.size - 1})"
        setting = f"loop.process_timeout = {seconds:g}"
        try:
            before = self.read()
            time.sleep(2.5 * self.beat)
            signs = self.read()
        except RuntimeError:
            return (
                f"{setting}: {dist.name_of(0)}, which holds the store of the run, gave no answer within {seconds:g} s "
                f"{size}; look for its last lines"
            )
        others = [number for number in range(self.size) if number != self.rank]
        silent = [n for n in others if n not in signs or (n in before and signs[n].number == before[n].number)]
        late = behind(signs, silent, self.rank)
        place = f", in the {signs[self.rank].place}" if self.rank in signs else ""
        if not late:
            return (
                f"{setting}: another process of this run gave no answer within {seconds:g} s {size}{place}; all give "
                "signs of life and wait, so look at the network between the machines, or set a larger "
                "loop.process_timeout"
            )
        shown = "; ".join(self._shown(number, signs.get(number), number in silent) for number in late[:4])
        more = f"; and {len(late) - 4} more" if len(late) > 4 else ""
        names = " and ".join(dist.name_of(number) for number in late[:4])
        return (
            f"{setting}: {names} gave no answer within {seconds:g} s {size}{place}: {shown}{more}; look for the last "
            "lines there, or set a larger loop.process_timeout"
        )

    @staticmethod
    def _shown(number: int, sign: Sign | None, is_silent: bool) -> str:
        where = f"it was at {sign.code}, in the {sign.place}" if sign is not None and sign.code else ""
        if is_silent:
            return f"process {number} gives no sign of life{', ' + where if where else ''}"
        return f"process {number} still runs, {where or 'at a place that it does not say'}"
