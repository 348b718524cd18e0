"""The IoUs of clicked objects, and clicks needed over draws of their images. n objects, N images, B draws."""

from dataclasses import dataclass
from typing import Self

import numpy as np

from segkit.analysis.table import ImageTable, quotient
from segkit.metrics.noc import SHOWN_CLICKS, clicks_needed, threshold_name


@dataclass(frozen=True)
class ClickTable(ImageTable):
    """Clicked objects: the IoU after each click.

    Attributes:
        images: N names; objects of one image are drawn together.
        strata: N names; "" where nothing groups the images.
        items: n names of objects.
        image_of: int64 [n], index of each object's image.
        ious: float32 [n,L] in 0..1; NaN after the last click of an object.
        areas: int64 [n], true pixels of each object.
        thresholds: IoUs in 0..1.
        limit: clicks at most, and the number that counts where an IoU is not reached.
    """

    images: tuple[str, ...]
    strata: tuple[str, ...]
    items: tuple[str, ...]
    image_of: np.ndarray
    ious: np.ndarray
    areas: np.ndarray
    thresholds: tuple[float, ...]
    limit: int

    def main_scores(self) -> tuple[str, ...]:
        shown = sorted(k for k in {*SHOWN_CLICKS, self.limit} if k <= self.limit)
        return tuple([f"NoC@{threshold_name(t)}" for t in self.thresholds] + [f"mIoU@{k}" for k in shown])

    def lower_is_better(self, name: str) -> bool:
        return name.startswith("NoC@")

    def take(self, index: np.ndarray) -> Self:
        place = np.full(len(self.images), -1)
        place[index] = np.arange(len(index))
        return self._of(index, np.flatnonzero(place[self.image_of] >= 0), place)

    def of_areas(self, low: float, high: float) -> Self:
        """Returns the table of the objects of at least `low` and fewer than `high` pixels, and of their images."""
        objects = np.flatnonzero((self.areas >= low) & (self.areas < high))
        index = np.unique(self.image_of[objects])
        place = np.full(len(self.images), -1)
        place[index] = np.arange(len(index))
        return self._of(index, objects, place)

    def _of(self, index: np.ndarray, objects: np.ndarray, place: np.ndarray) -> Self:
        return type(self)(
            tuple(self.images[i] for i in index.tolist()),
            tuple(self.strata[i] for i in index.tolist()),
            tuple(self.items[i] for i in objects.tolist()),
            place[self.image_of[objects]],
            self.ious[objects],
            self.areas[objects],
            self.thresholds,
            self.limit,
        )

    def joined(self, other: Self) -> Self:
        width = max(self.ious.shape[1], other.ious.shape[1])
        ious = [np.pad(t.ious, ((0, 0), (0, width - t.ious.shape[1])), constant_values=np.nan) for t in (self, other)]
        return type(self)(
            (*self.images, *other.images),
            (*self.strata, *other.strata),
            (*self.items, *other.items),
            np.concatenate([self.image_of, other.image_of + len(self.images)]),
            np.concatenate(ious),
            np.concatenate([self.areas, other.areas]),
            self.thresholds,
            self.limit,
        )

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns "NoC@<t>" and "mIoU@<k>" as of the metric NoC; see ImageTable."""
        of_item = weights[:, self.image_of].astype(np.float64)
        curves = [row[~np.isnan(row)][: self.limit] for row in self.ious]
        found = {}
        for threshold in self.thresholds:
            needed = clicks_needed(curves, threshold, self.limit)
            found[f"NoC@{threshold_name(threshold)}"] = quotient(of_item @ needed, of_item.sum(1))
        is_clicked = np.array([len(curve) > 0 for curve in curves], bool)
        for name in self.main_scores():
            if name.startswith("mIoU@"):
                k = int(name.removeprefix("mIoU@"))
                held = np.array([curve[min(k, len(curve)) - 1] if len(curve) else 0.0 for curve in curves], np.float64)
                found[name] = 100 * quotient(of_item @ held, of_item @ is_clicked)
        return found
