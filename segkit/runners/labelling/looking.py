"""Looks at images without labels, one at a time, and keeps a few numbers of each. D features."""

import base64
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from segkit.data.prepare.jobs import Journal
from segkit.files import DataError
from segkit.ops.self_training.choice import RULES, UncertainBox, uncertain_boxes
from segkit.ops.self_training.uncertainty import MEASURES, NEED_SEVERAL
from segkit.registry import ConfigError, did_you_mean
from segkit.runners.labelling.features import PooledFeatures
from segkit.runners.labelling.judges import Judge
from segkit.runners.self_training.rule import Images
from segkit.viz.errors import fitted

HEAT_SIDE = 96
"""Longer side of the map of uncertainty that is kept of each image, in pixels."""


@dataclass(frozen=True)
class Question:
    """How images are chosen.

    Attributes:
        count: images, or boxes.
        rule: see ops.self_training.choice.choose; boxes are always the most uncertain ones.
        measure: of the uncertainty, see ops.self_training.uncertainty.
        factor: candidates for each image of the rule "both".
        side: of the boxes in pixels; None chooses whole images.
        per_image: most boxes of an image.
    """

    count: int = 50
    rule: str = "both"
    measure: str = "margin"
    factor: float = 4.0
    side: int | None = None
    per_image: int = 4

    def check(self, judge: Judge) -> None:
        """Raises a ConfigError where a value is out of range, or the models have no such measure."""
        for name, value, known in (("--rule", self.rule, RULES), ("--measure", self.measure, MEASURES)):
            if value not in known:
                raise ConfigError(f"{name} {value}: must be one of {', '.join(known)}{did_you_mean(value, known)}")
        for name, number in (("-n", self.count), ("--side", self.side), ("--per-image", self.per_image)):
            if number is not None and number < 1:
                raise ConfigError(f"{name} {number}: must be 1 or more")
        if not 1 <= self.factor < float("inf"):
            raise ConfigError(f"--factor {self.factor:g}: must be a number of 1 or more")
        if self.measure not in judge.measures:
            several = "; it compares several checkpoints" if self.measure in NEED_SEVERAL else ""
            raise ConfigError(
                f"--measure {self.measure}: must be one of {', '.join(judge.measures)} for this model{several}"
            )

    @property
    def compares(self) -> bool:
        """Whether images are compared by the encoder's features."""
        return self.side is None and self.rule != "uncertain"


class Look(NamedTuple):
    """What is kept of an image.

    Attributes:
        uncertainty: of all of it, 0 to 1.
        features: float32 [D], D 0 where images are not compared.
        boxes: its most uncertain boxes.
        size: (H, W) in pixels.
        heat: uint8 [h,w], the uncertainty of its pixels of 0 to 255, made smaller.
    """

    uncertainty: float
    features: np.ndarray
    boxes: list[UncertainBox]
    size: tuple[int, int]
    heat: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Returns what a journal holds."""
        return {
            "uncertainty": self.uncertainty,
            "features": base64.b64encode(self.features.astype("<f4").tobytes()).decode(),
            "boxes": [list(box) for box in self.boxes],
            "size": list(self.size),
            "heat": [*self.heat.shape, base64.b64encode(self.heat.tobytes()).decode()],
        }


def look_of(content: Mapping[str, Any]) -> Look:
    """Returns what `as_json` gave."""
    height, width = content["size"]
    rows, columns, heat = content["heat"]
    return Look(
        float(content["uncertainty"]),
        np.frombuffer(base64.b64decode(content["features"]), "<f4").astype(np.float32),
        [UncertainBox(int(x0), int(y0), int(x1), int(y1), float(u)) for x0, y0, x1, y1, u in content["boxes"]],
        (int(height), int(width)),
        np.frombuffer(base64.b64decode(heat), np.uint8).reshape(rows, columns),
    )


def look(judge: Judge, features: PooledFeatures | None, image: np.ndarray, question: Question) -> Look:
    """Looks at one image.

    Args:
        judge: the models.
        features: of the first model; None where images are not compared.
        image: uint8 or float32 [H,W,C].
        question: what is measured.
    """
    pixels, score = judge.unsure(image, question.measure)
    vector = np.zeros(0, np.float32) if features is None else features.take()
    boxes = [] if question.side is None else uncertain_boxes(pixels, question.side, question.per_image)
    heat = np.rint(fitted(pixels, HEAT_SIDE) * 255).astype(np.uint8)
    return Look(score, vector, boxes, (image.shape[0], image.shape[1]), heat)


def look_at_all(
    judge: Judge, pictures: Images, question: Question, journal: Path, about: dict[str, Any]
) -> tuple[dict[str, Look], dict[str, str]]:
    """Looks at images one at a time; goes on where it was stopped.

    Args:
        judge: the models.
        pictures: the images.
        question: what is measured.
        journal: file that takes what is done; it stays, until its images have been chosen from.
        about: what decides the numbers; a journal of another is refused.

    Returns:
        What is kept of each image, and the reason why each of the others cannot be read, by their names.

    Raises:
        DataError: the journal was begun with other checkpoints or options.
    """
    features = PooledFeatures(judge.models[0], judge.files[0]) if question.compares else None

    def work(index: int) -> dict[str, Any]:
        return look(judge, features, pictures.read(index), question).as_json()

    try:
        done, failures = each_once(pictures.names, work, journal, about, "looking")
    finally:
        if features is not None:
            features.close()
    return {name: look_of(content) for name, content in done.items()}, failures


def each_once(
    names: Sequence[str], work: Callable[[int], dict[str, Any]], path: Path, about: dict[str, Any], label: str
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Works through images in their order; what a journal holds already is not done again. The journal stays.

    Args:
        names: of the images.
        work: computes what JSON holds of the image of a number.
        path: of the journal.
        about: what decides the results; a journal of another is refused.
        label: text of the progress bar.

    Returns:
        The result of each image, and the reason why each of the others cannot be read, by their names.

    Raises:
        DataError: the journal was begun with other options.
    """
    journal, failures = Journal(path, json.loads(json.dumps(about, default=str))), dict[str, str]()
    try:
        for number in _bar(range(len(names)), label):
            if names[number] in journal.done:
                continue
            try:
                journal.add(names[number], work(number))
            except (DataError, OSError) as error:
                failures[names[number]] = str(error)
    finally:
        journal.close(is_finished=False)
    return {name: journal.done[name] for name in names if name in journal.done}, failures


def _bar(numbers: Sequence[int], label: str) -> Iterator[int]:
    from tqdm import tqdm

    yield from tqdm(numbers, label, unit="image", disable=None, leave=False)
