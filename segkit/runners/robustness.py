"""Scores a model on corrupted images, cell by cell; what is scored already is not scored again."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from segkit import dist
from segkit.analysis.robustness import CLEAN, FACTORS, Robustness, cell, table_of
from segkit.data.splits.corrupted import NAMES, NEED_RGB, ROTATION
from segkit.engine import setup
from segkit.engine.checksum import crc_of
from segkit.engine.evaluate import flat_scores
from segkit.files import DataError, brief, parse_json, read_text, write_whole
from segkit.metrics.base import Metric
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.base import Runner, build_runner
from segkit.runners.ensemble import runner_of
from segkit.runners.scoring import check_names, score_set
from segkit.viz.page.glossary import direction

FORMAT = "segkit robustness 1"


class Suite(NamedTuple):
    """What is scored.

    Attributes:
        names: of corruptions.
        strengths: 1 to 5.
        images: number of images, drawn by the seed; 0 for all.
        seed: of the noise and of the choice of images.
    """

    names: tuple[str, ...]
    strengths: tuple[int, ...]
    images: int = 0
    seed: int = 0


class Cells:
    """Scores of cells in a JSON file that is written after each of them.

    Args:
        path: the file.
        about: what the scores are of.
        overwrite: whether scores of something else are replaced.

    Raises:
        ConfigError: the file holds scores of something else, and may not be replaced.
        DataError: it cannot be read.
    """

    def __init__(self, path: Path, about: dict[str, Any], *, overwrite: bool = False):
        self.path, self.about = path, about
        self.scores: dict[str, dict[str, float]] = {}
        if path.is_file() and not overwrite:
            kept = read_cells(path)
            differing = [key for key in about if kept["about"].get(key) != about[key]]
            if differing:
                key = differing[0]
                raise ConfigError(
                    f"{path}: holds scores of another run ({key}: {brief(kept['about'].get(key))} there, "
                    f"{brief(about[key])} here); choose another --out, or give --overwrite"
                )
            self.scores = kept["cells"]

    def add(self, name: str, scores: dict[str, float]) -> None:
        """Keeps the scores of a cell; the main process writes them."""
        self.scores[name] = scores
        self.write({})

    def write(self, table: dict[str, Any]) -> None:
        """Writes the file on the main process; table: what the cells say together."""
        if dist.is_main():
            content = {"format": FORMAT, "about": self.about, "table": table, "cells": self.scores}
            write_whole(self.path, json.dumps(content, indent=1) + "\n", "choose another --out")

    def of(self, score: str) -> dict[str, float]:
        """Returns one score of each cell, NaN where a cell has none."""
        return {name: scores.get(score, math.nan) for name, scores in self.scores.items()}


def read_cells(path: Path) -> dict[str, Any]:
    """Reads what Cells has written.

    Raises:
        DataError: the file is none.
    """
    content = parse_json(read_text(path), path)
    is_one = isinstance(content, dict) and content.get("format") == FORMAT
    if not is_one or not isinstance(content.get("about"), dict) or not isinstance(content.get("cells"), dict):
        raise DataError(f"{path}: holds no scores of corrupted images; give what segkit robustness writes")
    for name, scores in content["cells"].items():
        numbers = scores.values() if isinstance(scores, dict) else [None]
        if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in numbers):
            raise DataError(f"{path}: the scores of '{name}' are no numbers; remove the file and score again")
    return content


def fingerprint(model: Network, suite: Suite, section: dict) -> dict[str, Any]:
    """Returns what scores depend on: weights, data, inference, images and seed; plain values for JSON."""
    plain = json.loads(json.dumps({"data": section, "inference": model.config.get("inference")}, default=str))
    return {"weights": crc_of(model.state_dict()), **plain, "images": suite.images, "seed": suite.seed}


def applicable(suite: Suite, runner: Runner, channels: int) -> tuple[tuple[str, ...], dict[str, str]]:
    """Returns the corruptions that fit the model, and why others do not by their names.

    Args:
        suite: with the names.
        runner: that predicts.
        channels: of the images.
    """
    reasons = {}
    for name in suite.names:
        if name in FACTORS and runner.needs_stored:
            reasons[name] = "clicks are made on images at their own size"
        elif name == ROTATION and not runner.predicts_maps:
            reasons[name] = "only label maps turn with the image"
        elif name in NEED_RGB and channels != 3:
            reasons[name] = f"it works on colors, and the images have {channels} channels"
    return tuple(name for name in suite.names if name not in reasons), reasons


def section_of(section: dict, name: str, strength: int, suite: Suite, total: int) -> dict:
    """Returns the data section of a cell.

    Args:
        section: of the test set.
        name: of the corruption, CLEAN for none.
        strength: 1 to 5.
        suite: with images and seed.
        total: number of images of the set.
    """
    dataset = section["dataset"]
    if 0 < suite.images < total:
        dataset = {"type": "Part", "dataset": dataset, "share": suite.images / total, "seed": suite.seed}
    if name in NAMES:
        dataset = {
            "type": "Corrupted",
            "dataset": dataset,
            "corruption": name,
            "strength": strength,
            "seed": suite.seed,
        }
    found = {**section, "dataset": dataset}
    if name in FACTORS:
        factor = FACTORS[name][strength - 1]
        rows = section.get("transforms") or []
        found["transforms"] = [*rows, {"type": "RandomScale", "low": factor, "high": factor, "area": factor < 1}]
    return found


def score_cells(
    model: Network, section: dict, at: str, suite: Suite, cells: Cells, say: Callable[[str], None] | None
) -> Robustness:
    """Scores the images as they are, then each corruption in each strength.

    Args:
        model: of load_ensemble.
        section: data section of the test set.
        at: its config path.
        suite: what is scored.
        cells: takes the scores, and knows those of an earlier run.
        say: takes a line for each cell.

    Returns:
        The table of the main score.

    Raises:
        ConfigError: nothing fits the model, or its metrics name no main score.
    """
    device = model.mean.device
    whole = setup.build_evaluation(section, at, device)
    check_names(model, whole.dataset, f"{at}.dataset")
    runner = runner_of(model, section)
    names, reasons = applicable(suite, runner, whole.dataset.image(0).shape[2])
    for name, reason in reasons.items():
        _say(say, f"{name}: left out, {reason}")
    metrics = setup.build_metrics(model.config.get("metrics", []), default=build_runner(model.config).default_metrics)
    score, lower = main_score(metrics)
    todo = [(CLEAN, 0), *((name, strength) for name in names for strength in suite.strengths)]
    for number, (name, strength) in enumerate(todo, 1):
        key = CLEAN if name == CLEAN else cell(name, strength)
        if key in cells.scores:
            continue
        changed = section_of(section, name, strength, suite, len(whole.dataset))
        data = setup.build_evaluation(
            changed, at, device, needs_stored=runner.needs_stored, keep_stored=runner.keep_stored
        )
        scores = score_set(model, runner, data, metrics, None, 0, "", None)
        cells.add(key, {k: float(v) for k, v in flat_scores(scores).items() if k != "images_per_second"})
        _say(say, f"{number:>3} of {len(todo)}  {key:20} {score} {cells.scores[key].get(score, math.nan):.2f}")
    images = int(cells.scores[CLEAN].get("images", 0))
    return table_of(cells.of(score), names, suite.strengths, score=score, lower_is_better=lower, images=images)


def main_score(metrics: Sequence[Metric]) -> tuple[str, bool]:
    """Returns the score that stands for a model, and whether its lower values are better.

    Raises:
        ConfigError: no metric names one.
    """
    for metric in metrics:
        if metric.main_score:
            name = metric.main_score if metric.section is None else f"{metric.section}.{metric.main_score}"
            return name, direction(metric.main_score, metric.lower_is_better or ()) == "lower"
    raise ConfigError("metrics: none of them names a main score; name one such as Confusion, NoC or CocoAP")


def _say(say: Callable[[str], None] | None, text: str) -> None:
    if say is not None and dist.is_main():
        say(text)
