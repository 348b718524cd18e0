"""What a page about a test is made of: numbers, encoded pictures and texts. K classes."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from segkit.types import Color
from segkit.viz.page.html import Markup


class Picture(NamedTuple):
    """An encoded picture.

    Attributes:
        title: above it.
        data: content of a PNG or JPEG file.
        width, height: in pixels.
    """

    title: str
    data: bytes
    width: int
    height: int


class ClassNote(NamedTuple):
    """A class below a picture.

    Attributes:
        name: of the class.
        color: of its swatch.
        text: its score in the image.
    """

    name: str
    color: Color
    text: str


class Card(NamedTuple):
    """An image or object among the worst.

    Attributes:
        badness: sorts the worst to the front.
        name: of the image.
        note: its scores in words.
        pictures: image, truth, prediction, error.
        classes: of the image, the worst first.
        curve: IoU in percent after each click; () for images.
    """

    badness: tuple[float, ...]
    name: str
    note: str
    pictures: tuple[Picture, ...]
    classes: tuple[ClassNote, ...] = ()
    curve: tuple[float, ...] = ()


class WorstImages(NamedTuple):
    """The worst images of a test set.

    Attributes:
        title: of the section.
        explanation: by what they are ordered.
        key: meaning and color of what the pictures mark; without a color it is hatched.
        cards: the worst first.
        values: the score in percent of every image; of objects too.
        value_name: of that score.
        unscored: images without a score, as they have no label.
        noun: what is scored, in the plural.
        shows_classes: whether pictures have the colors of classes.
    """

    title: str
    explanation: str
    key: tuple[tuple[str, Color | None], ...]
    cards: Sequence[Card] = ()
    values: Sequence[float] = ()
    value_name: str = ""
    unscored: int = 0
    noun: str = "images"
    shows_classes: bool = True


class ScoredSet(NamedTuple):
    """A test set with its scores.

    Attributes:
        name: of the set.
        classes: K names.
        palette: K colors.
        scores: as in metrics.json.
        main_scores: names of the scores that matter most.
        lower_is_better: patterns of the scores whose lower values are better.
        matrix: confusion matrix, int64 [K,K], rows truth; None where there is none.
        worst: the worst images, None where no pictures could be made.
        more: title and content of further sections.
    """

    name: str
    classes: tuple[str, ...]
    palette: tuple[Color, ...]
    scores: Mapping[str, Any]
    main_scores: tuple[str, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    matrix: np.ndarray | None = None
    worst: WorstImages | None = None
    more: Sequence[tuple[str, Markup]] = ()


class Training(NamedTuple):
    """What a run has logged; points are (step, value).

    Attributes:
        source: the file.
        losses: of each loss by its name.
        rates: learning rates.
        scores: of each validation score by its name.
        monitor: name of the score that chose best.pt.
        lower_is_better: whether its lower values are better.
    """

    source: str
    losses: dict[str, list[tuple[float, float]]]
    rates: list[tuple[float, float]]
    scores: dict[str, list[tuple[float, float]]]
    monitor: str = ""
    lower_is_better: bool = False


class Facts(NamedTuple):
    """What a page says beside the scores.

    Attributes:
        title: name of what was scored.
        subtitle: a line below it.
        commands: what a command does, and the command.
        config: path, value and origin of each value.
        metrics: name and purpose of each metric.
        machine: name and value of versions and the machine.
        training: of the run, None where there is no log.
        steps: of class-incremental learning, as in the run's metrics.json.
    """

    title: str
    subtitle: str = ""
    commands: Sequence[tuple[str, str]] = ()
    config: Sequence[tuple[str, str, str]] = ()
    metrics: Sequence[tuple[str, str]] = ()
    machine: Sequence[tuple[str, str]] = ()
    training: Training | None = None
    steps: Sequence[Mapping[str, Any]] = ()
