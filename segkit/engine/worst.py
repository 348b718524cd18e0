"""The worst images of an evaluation, kept while it runs: their scores, and pictures of a few. K classes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from segkit import dist
from segkit.data.dataset import Dataset
from segkit.engine.pictures import image_of, labels_of
from segkit.metrics.worst_images import MapScores, multi_label_scores, semantic_scores
from segkit.types import Batch, Color, Prediction, default_palette
from segkit.viz import draw
from segkit.viz.errors import RIGHT, WRONG, encoded, fitted, label_errors
from segkit.viz.page.records import Card, ClassNote, Picture, WorstImages

if TYPE_CHECKING:
    from segkit.engine.loop import Loop

IGNORED = 255
"""Value of ignored pixels in what labels_of returns."""

MOST_CLASSES = 8
"""Classes that are named below a picture, the worst of the image."""


class Rating(NamedTuple):
    """How bad an image is.

    Attributes:
        name: of the image.
        value: its score in percent; None where nothing of it is scored.
        badness: sorts the worst to the front.
    """

    name: str
    value: float | None
    badness: tuple[float, ...]


class Worst:
    """Keeps the worst images of an evaluation; a subclass gives `rate`, `card` and the texts.

    Args:
        dataset: that is scored.
        count: images at most.
        side: longer side of the pictures in pixels.

    Attributes:
        title, explanation, value_name, noun, key, shows_classes: see WorstImages.
    """

    is_observer = True
    title = "Worst images"
    explanation = ""
    value_name = ""
    noun = "images"
    shows_classes = True
    key: tuple[tuple[str, Color | None], ...] = ()

    def __init__(self, dataset: Dataset, count: int, side: int = 480):
        self.dataset, self.count, self.side = dataset, count, side
        self.cards: list[Card] = []
        self.values: list[float] = []
        self.unscored = 0

    def rate(self, prediction: Prediction, batch: Batch, i: int) -> Rating | None:
        """Scores image i of a batch; None where there is nothing to compare."""
        raise NotImplementedError(f"{type(self).__name__} gives no rate()")

    def card(self, prediction: Prediction, batch: Batch, i: int, rating: Rating) -> Card:
        """Draws image i of a batch, which was rated just before."""
        raise NotImplementedError(f"{type(self).__name__} gives no card()")

    def after_batch(self, loop: "Loop | None", predictions: Sequence[Prediction], batch: Batch) -> None:
        """Rates the images of a batch, and draws those that are among the worst so far."""
        for i, prediction in enumerate(predictions):
            rating = self.rate(prediction, batch, i)
            if rating is None:
                continue
            if rating.value is None:
                self.unscored += 1
                continue
            self.values.append(rating.value)
            if len(self.cards) < self.count or _order(rating) < _order(self.cards[-1]):
                self.cards.append(self.card(prediction, batch, i, rating))
                self.cards = sorted(self.cards, key=_order)[: self.count]

    def result(self) -> WorstImages:
        """Returns the worst images of all processes, each of which calls this."""
        parts = dist.gather_objects((self.cards, self.values, self.unscored))
        cards = sorted((card for of_process, _, _ in parts for card in of_process), key=_order)[: self.count]
        values = [value for _, of_process, _ in parts for value in of_process]
        unscored = sum(of_process for _, _, of_process in parts)
        texts = (self.title, self.explanation, self.key)
        return WorstImages(*texts, cards, sorted(values), self.value_name, unscored, self.noun, self.shows_classes)


class WorstMaps(Worst):
    """Keeps the label maps, or maps of overlapping classes, with the lowest mean IoU of an image's own classes."""

    explanation = (
        "Ordered by mIoU: the mean over the classes that truth or prediction of the image has. Below each image its "
        "classes with their IoU, the worst first. A click enlarges a picture."
    )
    value_name = "mIoU"
    key = (("right", RIGHT), ("wrong", WRONG), ("ignored: not labelled, not scored", None))

    def __init__(self, dataset: Dataset, count: int, side: int = 480):
        super().__init__(dataset, count, side)
        self._scores: MapScores | None = None

    def rate(self, prediction: Prediction, batch: Batch, i: int) -> Rating | None:
        """Scores image i of a batch; None without a label map."""
        found = self._labels(prediction, batch, i)
        if found is None:
            return None
        truth, labels = found
        if truth.ndim == 3:
            scores = multi_label_scores(labels, truth, IGNORED)
        else:
            scores = semantic_scores(labels, truth, max(len(self.dataset.classes), 2), IGNORED)
        self._scores = scores
        value = scores.miou
        badness = () if value is None or scores.accuracy is None else (round(value, 6), round(scores.accuracy, 6))
        return Rating(str(batch["meta"][i]["id"]), value, badness)

    def _labels(self, prediction: Prediction, batch: Batch, i: int) -> tuple[np.ndarray, np.ndarray] | None:
        found = labels_of(prediction, batch, i)
        if found is None:
            return None
        truth, labels = found
        if self.dataset.ignore != IGNORED:
            truth = np.where(truth == self.dataset.ignore, IGNORED, truth)
        return truth, labels

    def card(self, prediction: Prediction, batch: Batch, i: int, rating: Rating) -> Card:
        """Draws image | truth | prediction | error of image i of a batch."""
        found, scores = self._labels(prediction, batch, i), self._scores
        assert found is not None and scores is not None and rating.value is not None
        truth, labels = (self._fitted(labels) for labels in found)
        image = resized(draw.to_rgb(image_of(batch, i)), truth.shape[-2:])
        overlay = draw.overlay if truth.ndim == 2 else draw.overlay_masks
        palette = tuple(self.dataset.palette) or default_palette(max(len(self.dataset.classes), 2))
        pictures = (
            pictured("image", image),
            pictured("truth", overlay(image, truth, palette, 0.55)),
            pictured("prediction", overlay(image, labels, palette, 0.55)),
            pictured("error", label_errors(image, truth, labels.astype(truth.dtype), IGNORED)),
        )
        note = f"mIoU {rating.value:.1f}, {scores.accuracy:.1f} % of its pixels right"
        return Card(rating.badness, rating.name, note, pictures, self._classes(scores))

    def _classes(self, scores: MapScores) -> tuple[ClassNote, ...]:
        rows = zip(self.dataset.classes, self.dataset.palette, scores.ious.tolist())
        known = sorted((row for row in rows if row[2] == row[2]), key=lambda row: row[2])
        return tuple(ClassNote(name, color, f"{iou:.0f}") for name, color, iou in known[:MOST_CLASSES])

    def _fitted(self, labels: np.ndarray) -> np.ndarray:
        if labels.ndim == 2:
            return fitted(labels.astype(np.int16), self.side, are_labels=True)
        return np.stack([fitted(mask.astype(np.uint8), self.side, are_labels=True) for mask in labels])


def pictured(title: str, picture: np.ndarray) -> Picture:
    """Returns a picture, uint8 [H,W,3], as it stands in a page."""
    return Picture(title, encoded(picture), picture.shape[1], picture.shape[0])


def resized(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resizes a picture, uint8 [H,W,3], to (height, width)."""
    import cv2

    if image.shape[:2] == size:
        return image
    is_smaller = size[0] < image.shape[0]
    return cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if is_smaller else cv2.INTER_NEAREST)


def _order(entry: Rating | Card) -> tuple[tuple[float, ...], str]:
    return entry.badness, entry.name
