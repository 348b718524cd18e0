"""Matches of the detections of each image, and COCO's average precision over draws of images.

N images, D detections, K categories, A areas, T IoU thresholds, B draws.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from segkit.analysis.table import ImageTable, mean_of_known, quotient

AREAS = ("", "s", "m", "l")
"""Suffixes of AP for objects of all, small, medium and large areas, in the order of pycocotools' ranges."""

RECALLS = np.linspace(0.0, 1.0, 101)
"""At which the precision is read."""


@dataclass(frozen=True)
class MatchTable(ImageTable):
    """Instances: which detections of an image match an object, and how many objects there are.

    Attributes:
        images: N names.
        strata: category of most objects of each image, "" without an object.
        classes: K names of the categories.
        ious: float64 [T], thresholds.
        image_of: int64 [D] of each detection; within a category those of the first image come first, by falling score.
        category_of: int64 [D].
        rank: int64 [D], place among the detections of its image and category, from 0.
        confidences: float64 [D].
        is_match: bool [A,T,D].
        is_ignored: bool [A,T,D], of a crowd or of another area.
        objects: int64 [A,N,K], objects that count.
        most: detections of an image and category that count for AP, and those for AP50, AP75 and areas.
    """

    images: tuple[str, ...]
    strata: tuple[str, ...]
    classes: tuple[str, ...]
    ious: np.ndarray
    image_of: np.ndarray
    category_of: np.ndarray
    rank: np.ndarray
    confidences: np.ndarray
    is_match: np.ndarray
    is_ignored: np.ndarray
    objects: np.ndarray
    most: tuple[int, int] = (100, 100)

    def main_scores(self) -> tuple[str, ...]:
        return ("AP", "AP50", "AP75", "APs", "APm", "APl")

    def take(self, index: np.ndarray) -> Self:
        place = np.full(len(self.images), -1)
        place[index] = np.arange(len(index))
        kept = np.flatnonzero(place[self.image_of] >= 0)
        kept = kept[np.argsort(place[self.image_of[kept]], kind="stable")]
        return type(self)(
            tuple(self.images[i] for i in index.tolist()),
            tuple(self.strata[i] for i in index.tolist()),
            self.classes,
            self.ious,
            place[self.image_of[kept]],
            self.category_of[kept],
            self.rank[kept],
            self.confidences[kept],
            self.is_match[:, :, kept],
            self.is_ignored[:, :, kept],
            self.objects[:, index],
            self.most,
        )

    def joined(self, other: Self) -> Self:
        return type(self)(
            (*self.images, *other.images),
            (*self.strata, *other.strata),
            self.classes,
            self.ious,
            np.concatenate([self.image_of, other.image_of + len(self.images)]),
            np.concatenate([self.category_of, other.category_of]),
            np.concatenate([self.rank, other.rank]),
            np.concatenate([self.confidences, other.confidences]),
            np.concatenate([self.is_match, other.is_match], 2),
            np.concatenate([self.is_ignored, other.is_ignored], 2),
            np.concatenate([self.objects, other.objects], 1),
            self.most,
        )

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns AP, AP50, AP75, APs, APm, APl and "AP CLASS" as of the metric CocoAP; see ImageTable.

        An image of weight w counts as w copies of it: precision and recall are accumulated over all detections by
        falling score, as pycocotools does.
        """
        precision = np.full((len(self.classes), len(weights), len(self.ious)), np.nan)
        last, by_area = precision.copy(), {name: precision.copy() for name in AREAS[1:]}
        for k in range(len(self.classes)):
            last[k] = self._precision(weights, k, 0, self.most[1])
            precision[k] = last[k] if self.most[0] == self.most[1] else self._precision(weights, k, 0, self.most[0])
            for a, name in enumerate(AREAS[1:], 1):
                by_area[name][k] = self._precision(weights, k, a, self.most[1])
        found = {"AP": _mean(precision)}
        for iou, name in ((0.5, "AP50"), (0.75, "AP75")):
            at = int(np.argmin(np.abs(self.ious - iou)))
            found[name] = _mean(last[:, :, at : at + 1])
        found |= {f"AP{name}": _mean(values) for name, values in by_area.items()}
        return found | {f"AP {name}": 100 * mean_of_known(precision[k]) for k, name in enumerate(self.classes)}

    def _precision(self, weights: np.ndarray, category: int, area: int, most: int) -> np.ndarray:
        """Mean precision over RECALLS, float64 [B,T]; NaN without an object."""
        chosen = np.flatnonzero((self.category_of == category) & (self.rank < most))
        chosen = chosen[np.argsort(-self.confidences[chosen], kind="mergesort")]
        objects = weights @ self.objects[area, :, category]
        times = weights[:, self.image_of[chosen]].astype(np.float64)
        found = np.zeros((len(weights), len(self.ious)))
        for t in range(len(self.ious)):
            counts = ~self.is_ignored[area, t, chosen]
            matches = self.is_match[area, t, chosen]
            hits, wrong = counts & matches, counts & ~matches
            right = np.cumsum(times * hits, 1)
            of_all = right / (right + np.cumsum(times * wrong, 1) + np.spacing(1))
            # the highest precision at this recall or a larger one
            highest = np.maximum.accumulate(of_all[:, ::-1], 1)[:, ::-1]
            recall = quotient(right, objects[:, None])
            for b in np.flatnonzero(objects > 0).tolist():
                at = np.searchsorted(recall[b], RECALLS, side="left")
                reached = at < recall.shape[1]
                found[b, t] = highest[b, at[reached]].sum() / len(RECALLS)
        found[objects == 0] = np.nan
        return found


def _mean(precision: np.ndarray) -> np.ndarray:
    """Over categories and thresholds, in percent, float64 [B]; precision: float64 [K,B,T]."""
    return 100 * mean_of_known(np.moveaxis(precision, 1, 0).reshape(precision.shape[1], -1))
