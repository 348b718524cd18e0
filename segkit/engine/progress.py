"""When a training ends: an estimate from its steps and evaluations, and a bar that shows it on a terminal."""

import sys
import time
from typing import TYPE_CHECKING

from segkit import dist

if TYPE_CHECKING:
    from tqdm import tqdm

    from segkit.engine.loop import Loop

UNKNOWN = "?:??:??"
"""Shown where nothing can be estimated yet."""

FORMAT = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
REFRESH = 0.2
"""Seconds between two drawings of the bar while images are validated."""


class Remaining:
    """Estimates the time that is left of a stage.

    A step takes as long as those of the last report. The first step of a run is left out, since it waits for the start
    of the reading processes and for kernels to be chosen. An evaluation takes as long as the last one.
    """

    def __init__(self) -> None:
        self._per_step: float | None = None
        self._evaluation: float | None = None

    def add_steps(self, count: int, seconds: float) -> None:
        """Takes the time of steps, without the first one of a run."""
        self._per_step = seconds / max(count, 1)

    def add_evaluation(self, seconds: float) -> None:
        """Takes the time of an evaluation, with the checkpoint that it may write."""
        self._evaluation = seconds

    def text(self, steps: int, evaluations: int) -> str:
        """Returns the time for so many steps and evaluations as hours:minutes:seconds.

        A "+" says that evaluations come on top, whose time is not known before the first has ended.
        """
        if not steps and not evaluations:
            return clock(0)
        if self._per_step is None:
            return UNKNOWN
        left = steps * self._per_step + evaluations * (self._evaluation or 0.0)
        return clock(left) + ("+" if evaluations and self._evaluation is None else "")


def evaluations_left(step: int, total: int, every: int) -> int:
    """Returns how many evaluations come after a step: those every so many steps (0 for none), and that of the end."""
    if step >= total:
        return 0
    return 1 + ((total - 1) // every - step // every if every else 0)


class Progress:
    """Counts the steps of a stage and says when it ends; draws a bar on the main process's terminal alone.

    Lines that are said while the bar stands go above it.
    """

    def __init__(self) -> None:
        self._bar: tqdm | None = None
        self._remaining = Remaining()
        self._began, self._batches, self._drawn = 0.0, 0, 0.0

    def start(self, loop: "Loop") -> None:
        """Begins a stage, or goes on with one."""
        self._remaining = Remaining()
        if dist.is_main() and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=loop.total_steps, initial=loop.step, unit="step", dynamic_ncols=True, bar_format=FORMAT
            )

    def step(self, loop: "Loop") -> None:
        """Counts one step."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"left {self.left(loop)}", refresh=False)
            self._bar.update(1)

    def add_steps(self, count: int, seconds: float) -> None:
        """See Remaining.add_steps."""
        self._remaining.add_steps(count, seconds)

    def left(self, loop: "Loop") -> str:
        """Returns the time that the stage still takes."""
        every = loop.settings.eval_every
        evaluations = evaluations_left(loop.step, loop.total_steps, every) if loop.val is not None else 0
        return self._remaining.text(loop.total_steps - loop.step, evaluations)

    def begin_evaluation(self) -> None:
        """Called before an evaluation."""
        self._began, self._batches = time.perf_counter(), 0

    def evaluated_batch(self, loop: "Loop") -> None:
        """Called after each batch of an evaluation."""
        self._batches += 1
        now = time.perf_counter()
        if self._bar is not None and loop.val is not None and now - self._drawn > REFRESH:
            self._drawn = now
            self._bar.set_description_str(f"validating {self._batches}/{len(loop.val.loader)} ")

    def end_evaluation(self) -> None:
        """Called after an evaluation."""
        self._remaining.add_evaluation(time.perf_counter() - self._began)
        if self._bar is not None:
            self._bar.set_description_str("")

    def say(self, line: str) -> None:
        """Prints a line on the main process, above the bar where there is one."""
        if dist.is_main():
            if self._bar is not None:
                self._bar.write(line)
            else:
                print(line, flush=True)

    def close(self) -> None:
        """Ends the bar, which stays on the screen."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


def clock(seconds: float) -> str:
    """Returns seconds as hours:minutes:seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
