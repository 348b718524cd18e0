"""Tries a training on this machine: the batch that fits, the time of a step, the learning rate."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, cast

import torch

from segkit.config import Config
from segkit.data.loader import EvalItems, eval_loader, to_device
from segkit.engine import setup
from segkit.engine.dry_run import saying
from segkit.engine.evaluate import evaluate
from segkit.engine.fit_to_labels import fit_to_labels
from segkit.engine.loop import Loop
from segkit.engine.schedules import LearningRate, Schedule
from segkit.recipe.choice import Measured
from segkit.recipe.machine import GIB, Budget, process_bytes
from segkit.recipe.range_test import RangeTest, range_test
from segkit.registry import ConfigError, without_downloads
from segkit.runners.base import build_runner
from segkit.types import Batch

LEAST_BATCH = 2
"""Images of a batch at least: a batch norm over a single pooled map needs two."""

GPU_SHARE, CPU_SHARE = 0.85, 0.7
"""Share of the free memory that a step may take; what is left is for larger objects, the cache and other programs."""

WARM_STEPS, TIMED_STEPS = 1, 8
"""Steps before those that are timed, and these at most."""

TIMED_SHARE, LEAST_TIMED = 0.03, 2
"""Share of the budget after which timing ends, and the steps timed in any case."""

SCORED_IMAGES = 2

LR_STEPS = 60
LR_LOW, LR_HIGH = 0.01, 100.0
"""Steps of a range test, and the factors of the recipe's rate between which the rate rises."""


class Fitted(NamedTuple):
    """A batch that fits.

    Attributes:
        batch: images.
        why: what limits it.
    """

    batch: int
    why: str


def try_out(cfg: Config, budget: Budget, *, find_lr: bool = False, datasets: setup.DataSets | None = None) -> Measured:
    """Tries the training of a config.

    Args:
        cfg: checked sections; train.batch_size is the batch that is wanted.
        budget: time and machine; the device is the machine's.
        find_lr: whether a range test finds the learning rate, from the pretrained weights, which may be fetched.
        datasets: those that are built already.

    Raises:
        ConfigError: the sections cannot be built, or not even a batch of two images fits.
        DataError: a file of a batch cannot be read.
    """
    device = torch.device(budget.machine.device)
    datasets = datasets or setup.DataSets()
    plain = Config({**cfg, "model": without_downloads(cfg["model"])}, cfg.file, cfg.origins)
    measured = _without_rate(plain, budget, device, datasets)
    if not find_lr:
        return measured
    with trial_loop(cfg, device, datasets) as loop:
        return dataclasses.replace(measured, lr=find_rate(loop, measured.batch, LR_STEPS).best)


def _without_rate(plain: Config, budget: Budget, device: torch.device, datasets: setup.DataSets) -> Measured:
    with trial_loop(plain, device, datasets) as loop:
        peak, wanted = _peak_of(loop), loop.data_settings.batch_size
        if device.type == "cuda":
            fitted = halve_until_fits(peak, wanted, int(GPU_SHARE * budget.machine.memory))
        else:
            fitted = grow_while_fits(peak, wanted, int(CPU_SHARE * budget.machine.memory) + process_bytes())
        step_seconds = _step_seconds(loop, fitted.batch, budget.seconds * TIMED_SHARE)
        return Measured(fitted.batch, step_seconds, _image_seconds(loop), fitted.why)


@contextmanager
def trial_loop(cfg: Config, device: torch.device, datasets: setup.DataSets) -> Iterator[Loop]:
    """Builds the loop of a training that writes nothing; errors of the training are sentences inside the block."""
    uncompiled = Config(
        {**cfg, "loop": {**(cfg.get("loop") or {}), "compile": False, "shard": "off"}}, cfg.file, cfg.origins
    )
    with tempfile.TemporaryDirectory() as folder, saying("trying the training"):
        runner = build_runner(uncompiled)
        loop = Loop(
            uncompiled, runner, work_dir=Path(folder), device=device, stage=runner.first_stage, datasets=datasets
        )
        fit_to_labels(loop)
        loop.model.train()
        yield loop


def _set_batch(loop: Loop, batch: int, workers: int) -> None:
    loop.data_settings = dataclasses.replace(loop.data_settings, batch_size=batch, workers=workers)


def _peak_of(loop: Loop) -> Callable[[int], int]:
    """A function that trains a step with a batch and returns the most memory held, of the device or the process."""

    def peak(batch: int) -> int:
        if loop.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(loop.device)
        _set_batch(loop, batch, workers=0)
        data = loop.batches()
        loop.train_step([_moved(data, loop)])
        return torch.cuda.max_memory_allocated(loop.device) if loop.device.type == "cuda" else process_bytes()

    return peak


def _moved(data: Iterator[Batch], loop: Loop) -> Batch:
    return to_device(next(data), loop.device)


def halve_until_fits(peak: Callable[[int], int], wanted: int, limit: int) -> Fitted:
    """Finds a batch on a device that refuses what does not fit: from the wanted one down by halves.

    Args:
        peak: trains with a batch and returns the bytes held at most; raises torch.OutOfMemoryError.
        wanted: images.
        limit: bytes that may be held.

    Raises:
        ConfigError: two images do not fit.
    """
    batch = wanted
    while batch >= LEAST_BATCH:
        try:
            held = peak(batch)
        except torch.OutOfMemoryError:
            held = -1
        if 0 <= held <= limit:
            why = "" if batch == wanted else f"; {2 * batch} do not fit"
            return Fitted(batch, _words(held, limit) + why)
        batch //= 2
    raise _too_large(limit)


def grow_while_fits(peak: Callable[[int], int], wanted: int, limit: int) -> Fitted:
    """Finds a batch in the memory of the machine, where one step too large ends the process.

    Batches of 2 and 4 are tried, and then the largest of the wanted one and its halves that fits by the straight line
    through the two.

    Args:
        peak: trains with a batch and returns the most bytes that the process has held.
        wanted: images.
        limit: bytes that the process may hold.

    Raises:
        ConfigError: two images do not fit.
    """
    batch = min(LEAST_BATCH, wanted)
    first = peak(batch)
    if first > limit:
        raise _too_large(limit)
    if wanted <= LEAST_BATCH:
        return Fitted(batch, _words(first, limit))
    if 2 * first > limit:  # too careful, since the process itself does not grow
        return Fitted(batch, f"{_words(first, limit)}; {2 * batch} may not fit")
    second = max(peak(2 * batch), first)
    if second > limit:
        return Fitted(batch, f"{_words(first, limit)}; {2 * batch} do not fit")
    per_image, fits, refused = (second - first) / batch, 2 * batch, 0
    candidate = wanted
    while candidate > fits:
        if second + per_image * (candidate - fits) <= limit:
            held = peak(candidate)
            if held <= limit:
                why = f"; {refused} may not fit" if refused else ""
                return Fitted(candidate, _words(held, limit) + why)
        refused, candidate = candidate, candidate // 2
    return Fitted(fits, _words(second, limit) + (f"; {refused} may not fit" if refused else ""))


def _words(held: int, limit: int) -> str:
    return f"takes {held / GIB:.1f} of {limit / GIB:.1f} GiB"


def _too_large(limit: int) -> ConfigError:
    return ConfigError(
        f"trying the training: a batch of {LEAST_BATCH} crops needs more than {limit / GIB:.1f} GiB, which is what is "
        "free of the memory here; end other programs, choose another --device, or shrink the images"
    )


def _step_seconds(loop: Loop, batch: int, most: float) -> float:
    """The median time of steps with a batch, its reading by workers included."""
    workers = setup.TrainSettings(**loop.stage_cfg["train"]).workers
    _set_batch(loop, batch, workers)
    data, seconds = loop.batches(), list[float]()
    for number in range(WARM_STEPS + TIMED_STEPS):
        start = time.perf_counter()
        loop.train_step([_moved(data, loop)])
        if loop.device.type == "cuda":
            torch.cuda.synchronize(loop.device)
        if number >= WARM_STEPS:
            seconds.append(time.perf_counter() - start)
        if len(seconds) >= LEAST_TIMED and sum(seconds) > most:
            break
    return statistics.median(seconds)


def _image_seconds(loop: Loop) -> float:
    """The time of scoring an image of the validation set; 0 without one."""
    if loop.val is None:
        return 0.0
    items, count = cast(EvalItems, loop.val.loader.dataset), len(loop.val.dataset)
    size = max(count // SCORED_IMAGES, 1)  # the first of so many processes has the images that are scored
    some = loop.val._replace(loader=eval_loader(items, batch_size=1, workers=0, rank=0, world_size=size))
    number = len(range(0, count, size))
    start = time.perf_counter()
    evaluate(loop.runner, loop.eval_model, some, loop.metrics, device=loop.device, dtype=loop.amp_dtype)
    return (time.perf_counter() - start) / number


class Given(Schedule):
    """A rate that is set from outside, as a factor of the base rate."""

    factor = 1.0

    def rate(self, base: float, step: int, total: int) -> float:
        """Returns the rate of a step; see Schedule.rate."""
        return base * self.factor


def find_rate(loop: Loop, batch: int, steps: int) -> RangeTest:
    """Makes a range test with the training of a loop, which is of no use afterwards.

    Args:
        loop: with the weights that the training begins with.
        batch: images of a step.
        steps: at most.
    """
    workers = setup.TrainSettings(**loop.stage_cfg["train"]).workers
    _set_batch(loop, batch, workers)
    given = Given()
    loop.learning_rate = LearningRate(loop.optimizer, given, steps + 1)
    data = loop.batches()
    base = float(loop.stage_cfg["optimizer"]["lr"])

    def step(rate: float) -> float:
        given.factor = rate / base
        terms = loop.train_step([_moved(data, loop)])
        return float(sum(value for name, value in terms.items() if name != "grad_norm"))

    return range_test(step, base * LR_LOW, base * LR_HIGH, steps)
