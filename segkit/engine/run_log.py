"""What a run has logged beside its checkpoint, as curves."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.engine.hooks import LOG, NOT_LOSSES
from segkit.files import DataError, parse_json, read_text
from segkit.viz.page.records import Training

OTHERS = ("step", "stage", "lr", "loss", "seconds_per_step", "data_share", "val", *NOT_LOSSES)
"""Keys of a line that are no single loss."""


def read_training(folder: Path, monitor: str, *, lower_is_better: bool) -> Training | None:
    """Reads the log of a run.

    Args:
        folder: of the run or of its stage.
        monitor: name of the score that chose best.pt.
        lower_is_better: whether its lower values are better.

    Returns:
        The curves; None where there is no log, or none that can be read.
    """
    path = folder / LOG
    if not path.is_file():
        return None
    try:
        lines = read_text(path).splitlines()
    except DataError:
        return None
    records = [record for record in map(_parsed, lines) if record is not None]
    losses: dict[str, list[tuple[float, float]]] = {}
    rates: list[tuple[float, float]] = []
    scores: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        step = float(record["step"])
        if isinstance(validated := record.get("val"), dict):
            for name, value in _numbers(validated).items():
                scores.setdefault(name, []).append((step, value))
            continue
        numbers = _numbers(record)
        for name in ("loss", *(name for name in numbers if name not in OTHERS)):
            if name in numbers:
                losses.setdefault(name, []).append((step, numbers[name]))
        if "lr" in numbers:
            rates.append((step, numbers["lr"]))
    if len(losses) == 2 and "loss" in losses:
        losses = {name: points for name, points in losses.items() if name != "loss"}  # the sum of a single one
    scores = {name: points for name, points in scores.items() if name not in ("images", "images_per_second")}
    return Training(str(path), losses, rates, scores, monitor, lower_is_better)


def read_steps(folder: Path) -> Sequence[dict[str, Any]]:
    """Reads the scores of all class steps of a run, () where there are none; folder: of one of its steps."""
    path = folder.parent / "metrics.json"
    if not folder.name.startswith("step") or not path.is_file():
        return ()
    try:
        steps = parse_json(read_text(path), path).get("steps", ())
    except (DataError, AttributeError):
        return ()
    return [step for step in steps if isinstance(step, dict) and isinstance(step.get("step"), int)]


def _parsed(line: str) -> dict[str, Any] | None:
    """A line of the log, None for one that was cut."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def _numbers(record: dict[str, Any]) -> dict[str, float]:
    return {
        name: float(value) if math.isfinite(value) else math.nan
        for name, value in record.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
