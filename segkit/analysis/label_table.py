"""Pixel counts of each image of a label map set, and the scores of their sums. N images, K classes, B draws."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from segkit.analysis.table import ImageTable, mean_of_known, quotient

LABEL_SCORES = ("mIoU", "mDice", "mAcc", "aAcc", "fwIoU")
"""Scores of a whole set of label maps, as of the metric Confusion."""


@dataclass(frozen=True)
class LabelTable(ImageTable):
    """Label maps: the right, true and predicted pixels of each class in each image.

    Attributes:
        images: N names.
        classes: K names.
        counts: int64 [N,3,K]: right, true and predicted pixels.
        kept: bool [K], classes that are in the means.
        absent: what a class whose score is 0 / 0 does to the means, as of the metric Confusion.
        strata: main class of each image: the one with most true pixels.
    """

    images: tuple[str, ...]
    classes: tuple[str, ...]
    counts: np.ndarray
    kept: np.ndarray
    absent: str = "skip"
    strata: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        true = self.counts[:, 1].reshape(len(self.images), -1)
        names = [self.classes[row.argmax()] if row.any() else "" for row in true]
        object.__setattr__(self, "strata", tuple(names))

    def main_scores(self) -> tuple[str, ...]:
        return LABEL_SCORES

    def take(self, index: np.ndarray) -> Self:
        names = tuple(self.images[i] for i in index.tolist())
        return type(self)(names, self.classes, self.counts[index], self.kept, self.absent)

    def joined(self, other: Self) -> Self:
        counts = np.concatenate([self.counts, other.counts])
        return type(self)((*self.images, *other.images), self.classes, counts, self.kept, self.absent)

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns LABEL_SCORES and "IoU CLASS" of each class; see ImageTable.

        Sums are whole numbers below 2^53, hence exact, and the scores are those of the metric Confusion.
        """
        flat = self.counts.reshape(len(self.images), -1).astype(np.float64)
        sums = (weights.astype(np.float64) @ flat).reshape(len(weights), 3, len(self.classes))
        right, true, predicted = sums[:, 0], sums[:, 1], sums[:, 2]
        of_class = {
            "IoU": quotient(right, true + predicted - right),
            "Dice": quotient(2 * right, true + predicted),
            "Acc": quotient(right, true),
        }
        found = {f"m{name}": 100 * self._mean(values, true) for name, values in of_class.items()}
        pixels = true.sum(1)
        weighted = np.nan_to_num(of_class["IoU"]) * quotient(true, pixels[:, None])
        found["aAcc"] = 100 * quotient(right.sum(1), pixels)
        found["fwIoU"] = 100 * weighted.sum(1)
        ious = self._with_absent(of_class["IoU"], true)
        return found | {f"IoU {name}": 100 * ious[:, k] for k, name in enumerate(self.classes)}

    def _mean(self, values: np.ndarray, true: np.ndarray) -> np.ndarray:
        return mean_of_known(self._with_absent(values, true)[:, self.kept])

    def _with_absent(self, values: np.ndarray, true: np.ndarray) -> np.ndarray:
        """values, true: float64 [B,K]."""
        if self.absent == "skip_without_truth":
            return np.where(true > 0, values, np.nan)
        return values if self.absent == "skip" else np.nan_to_num(values, nan=float(self.absent == "one"))


def counts_of(matrix: np.ndarray) -> np.ndarray:
    """Returns right, true and predicted pixels of each class, int64 [3,K]; matrix: int64 [K,K], rows truth."""
    return np.stack([np.diagonal(matrix), matrix.sum(1), matrix.sum(0)])


@dataclass(frozen=True)
class RegionTable(ImageTable):
    """Connected regions of one class in the truth, by their size: how many are found, and how much of them.

    Attributes:
        images: N names.
        sizes: S names of sizes.
        counts: int64 [N,S,4]: true pixels, right ones, regions, and those of which at least half is right.
        strata: as of LabelTable.
    """

    images: tuple[str, ...]
    sizes: tuple[str, ...]
    counts: np.ndarray
    strata: tuple[str, ...]

    def main_scores(self) -> tuple[str, ...]:
        return tuple(f"{word} {name}" for name in self.sizes for word in ("Acc", "found"))

    def take(self, index: np.ndarray) -> Self:
        names, strata = (tuple(values[i] for i in index.tolist()) for values in (self.images, self.strata))
        return type(self)(names, self.sizes, self.counts[index], strata)

    def joined(self, other: Self) -> Self:
        counts = np.concatenate([self.counts, other.counts])
        return type(self)((*self.images, *other.images), self.sizes, counts, (*self.strata, *other.strata))

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Returns "Acc SIZE", the share of right pixels, and "found SIZE", that of regions; see ImageTable."""
        flat = self.counts.reshape(len(self.images), -1).astype(np.float64)
        sums = (weights.astype(np.float64) @ flat).reshape(len(weights), len(self.sizes), 4)
        found: dict[str, np.ndarray] = {}
        for s, name in enumerate(self.sizes):
            pixels, right, regions, hits = (sums[:, s, k] for k in range(4))
            found |= {f"Acc {name}": 100 * quotient(right, pixels), f"found {name}": 100 * quotient(hits, regions)}
        return found


def by_column(images: Sequence[str], names: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the indices of the images of each value of a column, int64, the most frequent value first.

    Args:
        images: N names.
        names: N values.
    """
    values, counts = np.unique(np.asarray(names, dtype=np.str_), return_counts=True)
    order = sorted(range(len(values)), key=lambda k: (-int(counts[k]), str(values[k])))
    column = np.asarray(names, dtype=np.str_)
    assert len(images) == len(column), (len(images), len(column))
    return {str(values[k]): np.flatnonzero(column == values[k]) for k in order}
