"""A dry run: everything that a config names is built once, and a small batch makes an optimizer step in memory."""

import dataclasses
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch

from segkit.data.loader import EvalItems, eval_loader, to_device
from segkit.engine import setup
from segkit.engine.evaluate import evaluate
from segkit.engine.fit_to_labels import fit_to_labels
from segkit.engine.loop import Loop
from segkit.engine.optim import all_finite
from segkit.engine.preflight import scored_sections
from segkit.engine.terms import NonFiniteLoss
from segkit.files import DataError
from segkit.registry import HOOKS, ConfigError, build, without_downloads

if TYPE_CHECKING:
    from segkit.runners.base import Runner

IMAGES = 2
"""Images of the batch: a batch norm over a single pooled map needs two."""


def dry_run(cfg: dict, runner: "Runner", datasets: setup.DataSets, *, device: torch.device) -> str:
    """Tries the first training of a run: builds it, makes one optimizer step and scores one image of `val`.

    The batch has at most 2 images of the configured crop; nothing is compiled, and no weights are fetched. The test
    sets, their transforms and the hooks are built, too. Nothing is written.

    Args:
        cfg: the checked sections.
        runner: of the run.
        datasets: those that the check of the data has built.
        device: to run on.

    Returns:
        One line that says what ran and how long it took.

    Raises:
        ConfigError: something cannot be built, or fails on a batch; the message names the section.
        DataError: a file of the batch cannot be read.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        with saying("hooks"):
            for i, row in enumerate(cfg.get("hooks") or ()):
                build(row, HOOKS, f"hooks.{i}")
        with saying("test"):
            _build_tests(cfg, runner, datasets, device)
        with saying("the first training cannot be built"):
            # a compiler takes minutes, a network may be out of reach, and this is one process
            plain = {**cfg, "model": without_downloads(cfg["model"])}
            plain["loop"] = {**(cfg.get("loop") or {}), "compile": False, "shard": "off"}
            stage = runner.first_stage
            loop = Loop(plain, runner, work_dir=Path(folder), device=device, stage=stage, datasets=datasets)
        loop.data_settings = dataclasses.replace(
            loop.data_settings, batch_size=min(loop.data_settings.batch_size, IMAGES), workers=0
        )
        with saying("the first step fails"):
            _step(loop)
        with saying("the first image of `val` cannot be scored"):
            _score(loop)
    seconds = time.perf_counter() - start
    count = sum(parameter.numel() for parameter in loop.raw_model.parameters())
    return f"model of {count / 1e6:.2f}M parameters, losses, one optimizer step and one scored image: {seconds:.1f} s"


@contextmanager
def saying(subject: str) -> Iterator[None]:
    """Turns an error without a sentence of its own into a ConfigError that says where it happened.

    Args:
        subject: a section, or what was tried.
    """
    try:
        yield
    except (ConfigError, DataError, NonFiniteLoss):
        raise
    except MemoryError as error:
        raise ConfigError(f"{subject}: out of memory; choose smaller crops, channels or batches") from error
    except Exception as error:
        first = str(error).strip().split("\n")[0]
        raise ConfigError(f"{subject}: {type(error).__name__}: {first}") from error


def _build_tests(cfg: dict, runner: "Runner", datasets: setup.DataSets, device: torch.device) -> None:
    for at, section in scored_sections(cfg).items():
        if at != "val":  # the loop builds it
            setup.build_evaluation(section, at, device, datasets, needs_stored=runner.needs_stored)


def _step(loop: Loop) -> None:
    """One optimizer step, and a second one that shows whether the first went too far."""
    fit_to_labels(loop)
    loop.model.train()
    batches = loop.batches()
    batch = to_device(next(batches), loop.device)
    for _ in range(2):
        terms = loop.train_step([dict(batch)])  # type: ignore[list-item]
        loop.terms.add(loop.step - 1, [meta["path"] for meta in batch["meta"]], terms)
        loop.drain()
        if not all_finite([*loop.raw_model.state_dict().values()]):
            raise NonFiniteLoss("a weight is not finite after the first step; lower optimizer.lr or set loop.clip")


def _score(loop: Loop) -> None:
    if loop.val is None:
        return
    section = {**loop.stage_cfg["val"], "batch_size": 1, "workers": 0}
    stored = dict(needs_stored=loop.runner.needs_stored, keep_stored=loop.runner.keep_stored)
    data = setup.build_evaluation(section, "val", loop.device, loop.datasets, **stored)
    # of as many processes as there are images, the first has the first image
    items, count = cast(EvalItems, data.loader.dataset), len(data.dataset)
    first = data._replace(loader=eval_loader(items, batch_size=1, workers=0, rank=0, world_size=count))
    evaluate(loop.runner, loop.eval_model, first, loop.metrics, device=loop.device, dtype=loop.amp_dtype)
