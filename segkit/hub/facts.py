"""What a run says about its model: scores with intervals, length of the training, data, base weights."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

import numpy as np

from segkit.engine.hooks import LOG
from segkit.files import DataError, parse_json, read_text

RESAMPLES = 2000
"""Of the images, for an interval."""

NOT_SCORES = ("images", "images_per_second", "seconds")
"""Numbers among scores that measure something else."""

LARGEST = 1e12
"""No score is beyond this."""

COUNTS = ("pixels", "count", "objects", "instances")
"""Parts of names of columns that count and have no mean to speak of."""


@dataclass(frozen=True)
class Score:
    """A score by its name.

    Attributes:
        low, high: the interval of 95 %, None where there are no scores of single images.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """Value and interval."""
        interval = "" if self.low is None else f" ({self.low:.2f} to {self.high:.2f})"
        return f"{self.value:.2f}{interval}"


@dataclass(frozen=True)
class Facts:
    """What a model card tells beside the config.

    Attributes:
        scores: of the whole test or validation set.
        source: where these come from.
        image_scores: means over images, with intervals.
        images: how many images these are of.
        steps: optimizer steps of the training, None where unknown.
        train_images: that it was trained on, None where unknown.
        base: the weights that the training began with, "" for none.
        data: names of the data sets.
    """

    scores: tuple[Score, ...] = ()
    source: str = ""
    image_scores: tuple[Score, ...] = ()
    images: int = 0
    steps: int | None = None
    train_images: int | None = None
    base: str = ""
    data: tuple[str, ...] = ()


def facts_of(content: dict[str, Any], checkpoint: Path, scores: Path | None, per_image: Path | None) -> Facts:
    """Collects the facts of a checkpoint and of the files beside it.

    Args:
        content: of the checkpoint.
        checkpoint: its file.
        scores: JSON of `segkit test`; None for metrics.json beside the checkpoint, else the log of the run.
        per_image: CSV of `segkit test --per-image`; None for metrics_per_image.csv beside the checkpoint.

    Raises:
        DataError: a file that was named is missing or damaged.
    """
    config = content.get("config") or {}
    found, source = _scores(content, checkpoint, scores)
    table = per_image or checkpoint.parent / "metrics_per_image.csv"
    rows = _rows(table) if per_image is not None or table.is_file() else []
    return Facts(
        scores=tuple(found),
        source=source,
        image_scores=tuple(intervals(rows)),
        images=len(rows),
        steps=_number(content.get("step")),
        train_images=_number(content.get("images")),
        base=base_of(config),
        data=tuple(dict.fromkeys(_data(config))),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _scores(content: dict[str, Any], checkpoint: Path, given: Path | None) -> tuple[list[Score], str]:
    path = given or checkpoint.parent / "metrics.json"
    if given is not None or path.is_file():
        values = parse_json(read_text(path), path)
        if not isinstance(values, dict):
            raise DataError(f"{path}: holds no scores by name; give the file that `segkit test --out` writes")
        return list(_flat(values)), "test set"
    log = checkpoint.parent / LOG
    if not log.is_file():
        return [], ""
    step, best = content.get("scored", content.get("step")), []
    for line in read_text(log).splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("val"), dict) and record.get("step") == step:
            best = list(_flat(record["val"]))
    return best, "validation set" if best else ""


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[Score]:
    """Single numbers of nested scores; tables of classes are left out."""
    for name, value in values.items():
        if isinstance(value, dict):
            if prefix == "" and not name.endswith("_of") and name not in ("IoU", "Acc", "Dice"):
                yield from _flat(value, f"{name}.")
            continue
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # a comparison, since math.isfinite takes no whole number of 400 digits; NaN lies in no range
        if is_number and name not in NOT_SCORES and abs(value) < LARGEST:
            yield Score(prefix + name, float(value))


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        return list(csv.DictReader(io.StringIO(read_text(path))))
    except csv.Error as error:
        raise DataError(
            f"{path}: no table of images ({error}); give the file that `segkit test --per-image` writes"
        ) from error


def intervals(rows: Sequence[dict[str, str]], seed: int = 0) -> Iterator[Score]:
    """Means over images, with the interval of 95 % by the bootstrap: percentiles of the means of resampled images.

    Args:
        rows: of a table with a row for each image; empty cells are images without that score.
        seed: of the resampling.
    """
    for name in rows[0] if rows else ():
        if not name or name in ("id", "path") or any(part in name.lower() for part in COUNTS):
            continue
        try:
            values = np.array([float(row[name]) for row in rows if row[name] not in ("", None)])
        except ValueError:
            continue
        if len(values) < 2 or not np.isfinite(values).all():
            continue
        chosen = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
        low, high = np.percentile(values[chosen].mean(1), (2.5, 97.5))
        yield Score(name, float(values.mean()), float(low), float(high))


def base_of(config: dict[str, Any]) -> str:
    """Returns the name of the weights that a training began with: of `init`, else of a pretrained encoder."""
    init = config.get("init")
    if isinstance(init, dict) and init.get("path"):
        return str(init["path"])
    return next(_pretrained(config.get("model")), "")


def _pretrained(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        chosen = value.get("pretrained")
        if isinstance(chosen, str) and chosen:
            yield chosen
        elif chosen is True:
            yield str(value.get("name") or value.get("type"))
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ():
        yield from _pretrained(inner)


def _data(config: dict[str, Any]) -> Iterator[str]:
    for name in ("train", "val", "test"):
        section = config.get(name)
        dataset = section.get("dataset") if isinstance(section, dict) else None
        if isinstance(dataset, dict):
            root = dataset.get("root")
            yield f"{dataset.get('type')}" + (f" ({PurePath(str(root)).name})" if root else "")


def without_places(value: Any) -> Any:
    """Returns sections without the folders of the machine: absolute paths keep their last part."""
    if isinstance(value, dict):
        return {key: without_places(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(inner) for inner in value]
    if isinstance(value, str) and (value.startswith(("/", "~")) or PureWindowsPath(value).drive):
        return PureWindowsPath(value).name if PureWindowsPath(value).drive else PurePath(value).name
    return value
