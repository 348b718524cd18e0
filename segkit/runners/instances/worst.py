"""The images whose instances were found worst, for a page. n objects, m detections, H W image."""

from typing import Any, NamedTuple, cast

import cv2
import numpy as np

from segkit.engine.pictures import original
from segkit.engine.worst import Rating, Worst, pictured
from segkit.metrics.worst_images import InstanceCounts, instance_counts
from segkit.runners.instances.drawn import DrawnInstances, found_in
from segkit.runners.instances.pictures import truth_in
from segkit.types import Batch, Color, InstancePrediction, Prediction
from segkit.viz import draw
from segkit.viz.errors import EXCESS, RIGHT, WRONG, error_map, fitted
from segkit.viz.page.records import Card

NOTHING = DrawnInstances([], [], np.zeros((0, 4)))


class _Matched(NamedTuple):
    """The detections of an image, its objects with the crowds behind them, and how they match."""

    found: DrawnInstances
    truth: DrawnInstances
    counts: InstanceCounts


class WorstInstances(Worst):
    """Keeps the images with the lowest F1 of objects found, of those with equal ones the most errors.

    Args:
        dataset: gives classes, palette and the truth, `annotations` in COCO's format.
        count: images at most.
        side: longer side of the pictures in pixels.
        score: least score of the detections that count and are drawn.
    """

    value_name = "F1 of found objects"
    key = (("found", RIGHT), ("missed", WRONG), ("found where nothing is, twice, or as another class", EXCESS))

    def __init__(self, dataset: Any, count: int, side: int = 480, score: float = 0.3):
        super().__init__(dataset, count, side)
        self.annotations, self.score = dataset.annotations, score
        self.explanation = (
            f"Ordered by F1 = 2 hits / (2 hits + missed + wrong), of detections with a score of {score:g} or more. A "
            "hit has the object's class, and an IoU of the masks of 50 percent or more. A click enlarges a picture."
        )
        self._truth: dict[str, DrawnInstances] | None = None
        self._crowds: dict[str, DrawnInstances] = {}
        self._matched = _Matched(NOTHING, NOTHING, instance_counts([], [], [], []))

    def rate(self, prediction: Prediction, batch: Batch, i: int) -> Rating:
        """Matches the instances of image i of a batch."""
        name = str(batch["meta"][i]["id"])
        if self._truth is None:
            annotations = self.annotations
            crowds = [{**row, "iscrowd": 0} for row in annotations["annotations"] if row.get("iscrowd")]
            self._truth, self._crowds = truth_in(annotations), truth_in({**annotations, "annotations": crowds})
        found, truth = found_in(prediction, self.score), self._truth.get(name, NOTHING)
        crowds_of = self._crowds.get(name, NOTHING)
        masks, labels = [*(truth.masks or ()), *(crowds_of.masks or ())], [*truth.labels, *crowds_of.labels]
        crowd = [k >= len(truth.labels) for k in range(len(labels))]
        counts = instance_counts(found.masks or [], found.labels, masks, labels, crowd=crowd)
        self._matched = _Matched(found, truth, counts)
        value = counts.f1
        badness = () if value is None else (round(value, 6), -float(counts.missed + counts.wrong))
        return Rating(name, value, badness)

    def card(self, prediction: Prediction, batch: Batch, i: int, rating: Rating) -> Card:
        """Draws image | truth | prediction | error of image i of a batch."""
        found, truth, counts = self._matched
        image = original(batch, i)
        pictures = (
            pictured("image", self._small(image)),
            pictured("truth", self._drawn(image, truth)),
            pictured("prediction", self._drawn(image, found)),
            pictured("error", self._errors(image)),
        )
        note = f"F1 {rating.value:.1f}: {counts.hits} found, {counts.missed} missed, {counts.wrong} wrong"
        if not found.labels:
            best = max(map(float, cast(InstancePrediction, prediction)["scores"]), default=0.0)
            note += f"; no detection has a score of {self.score:g} (best {best:.2f})"
        return Card(rating.badness, rating.name, note, pictures)

    def _drawn(self, image: np.ndarray, instances: DrawnInstances) -> np.ndarray:
        small, factor = self._small(image), min(1.0, self.side / max(image.shape[:2]))
        masks = [_resized(draw.decoded(mask), small.shape[:2]) for mask in instances.masks or ()]
        return draw.draw_instances(
            small,
            masks,
            instances.labels,
            boxes=instances.boxes * factor,
            scores=instances.scores,
            classes=self.dataset.classes,
            palette=self.dataset.palette,
        )

    def _small(self, image: np.ndarray) -> np.ndarray:
        return fitted(image, self.side)

    def _errors(self, image: np.ndarray) -> np.ndarray:
        """Missed objects and wrong detections over those that match, each with its outline."""
        found, truth, counts = self._matched
        small = self._small(image)
        size = small.shape[:2]
        scale = -(-320 // max(size))  # as large as draw_instances makes a small image
        small = small.repeat(scale, axis=0).repeat(scale, axis=1)
        kinds: tuple[tuple[list, np.ndarray, Color], ...] = (
            (found.masks or [], ~counts.is_wrong, RIGHT),
            (found.masks or [], counts.is_wrong, EXCESS),
            (truth.masks or [], counts.is_missed[: len(truth.labels)], WRONG),
        )
        shape = small.shape[:2]
        regions = [
            ([_resized(draw.decoded(mask), shape) for mask, is_kind in zip(masks, of_kind) if is_kind], color)
            for masks, of_kind, color in kinds
        ]
        marks = [(np.logical_or.reduce([np.zeros(shape, bool), *masks]), color) for masks, color in regions]
        picture = np.ascontiguousarray(error_map(small, *marks, ignored=np.zeros(shape, bool)))
        for masks, color in regions:
            for mask in masks:
                lines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
                cv2.drawContours(picture, lines, -1, color, max(1, round(min(shape) / 160)))
        return picture


def _resized(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    return cv2.resize(mask.astype(np.uint8), size[::-1], interpolation=cv2.INTER_NEAREST) > 0
