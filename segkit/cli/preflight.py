"""Looks at the data before the first step: pairing, sizes, labels."""

import sys
from collections.abc import Iterable, Sequence
from types import SimpleNamespace
from typing import Any

from segkit.config import Config
from segkit.registry import ConfigError


def needed_sections(cfg: Config, names: Iterable[str]) -> None:
    """An error for a section the command cannot do without."""
    for name in names:
        if not cfg.get(name):
            raise ConfigError(f"{name}: this section is missing in {cfg.file}")


def preflight(cfg: Config, limit: int, stage: int | None = None, *, resumes: bool = False) -> int:
    """limit: masks read per section, 0 = all; stage: that the run begins with, None for its first; resumes: the run
    goes on from a checkpoint of its own. Prints a report per section; -> 2 where one has errors, else 0. All processes
    of a run call it, and the first one prints."""
    from segkit.files import DataError

    code = 0
    own = _first_sections(cfg, stage, resumes)
    width = None if "model" in own else cfg["model"].get("num_classes")
    for section in ("train", "val"):
        if not cfg.get(section):
            continue
        try:
            metrics = cfg.get("metrics") or [] if section == "val" else []
            report = _report({**cfg, **own}[section], section, limit=limit, width=width, metrics=metrics)
        except DataError:
            # what the stage makes of the data stops at the first bad file; the data itself has a list of them
            report = _report(cfg[section], section, limit=limit, width=None)
            if report.is_ok:
                raise
        _say(section, report)
        code = code if report.is_ok else 2
    return code


def _report(cfg: dict, section: str, *, limit: int, width: Any, metrics: Sequence[dict] = ()) -> Any:
    """cfg: a section; width: model.num_classes, None where the model follows the data; metrics: rows that score the
    section -> a Report."""
    from segkit.data.preflight import check_dataset
    from segkit.engine.setup import build_dataset

    dataset = build_dataset(cfg["dataset"], f"{section}.dataset")
    # A model of one channel tells two classes apart.
    classes = width if isinstance(width, int) and width > 1 else len(dataset.classes)
    ignore = getattr(dataset, "ignore", 255)
    report = check_dataset(dataset, num_classes=classes, ignore=ignore, limit=limit or len(dataset))
    report.lines += getattr(dataset, "facts", ())
    report.errors += unscorable(dataset, metrics)
    return report


def unscorable(dataset: Any, rows: Sequence[dict]) -> list[str]:
    """rows: of section metrics -> why those for instances cannot score the data set's annotations, which else shows at
    the first evaluation."""
    from segkit.engine.setup import build_metrics
    from segkit.files import DataError

    if not rows or not hasattr(type(dataset), "annotations"):  # reading them may fail
        return []
    metrics = [one for one in build_metrics(rows) if getattr(one, "section", None) is not None]
    try:
        truth = SimpleNamespace(annotations=dataset.annotations if metrics else {})  # read once for all of them
        for metric in metrics:
            metric.start(truth)
    except (DataError, ConfigError) as error:
        return [str(error)]
    return []


def _first_sections(cfg: Config, stage: int | None, resumes: bool) -> dict:
    """-> sections in which the run's first stage differs from the config."""
    from segkit.api import build_runner

    runner = build_runner(cfg)
    number = runner.first_stage if stage is None else stage
    stages = runner.stages(cfg)
    if not 0 <= number < len(stages):
        raise ConfigError(f"--from-step {number}: this run has the steps 0 to {len(stages) - 1}")
    if stage is None and not resumes:
        runner.check_start(cfg)
    return stages[number].overrides


def _say(section: str, report: Any) -> None:
    from segkit import dist

    if not dist.is_main():
        return
    for line in report.lines:
        print(f"{section}: {line}", flush=True)
    for line in report.warnings:
        print(f"{section}: warning: {line}", flush=True)
    for line in report.errors:
        print(f"{section}: error: {line}", file=sys.stderr, flush=True)
