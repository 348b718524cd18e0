"""The contract of what is known of each image of an evaluation, from which scores are computed again and again."""

from typing import Self

import numpy as np


class ImageTable:
    """Counts of N images, whose sums give every score, so that images can be drawn again with other weights.

    Attributes:
        images: N names; the units that are drawn.
        strata: N names of what an image mostly holds, "" where that is not known.
    """

    images: tuple[str, ...]
    strata: tuple[str, ...]

    def scores(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Scores the images as if each stood in the set as often as its weight says.

        Args:
            weights: whole numbers [B,N] of B draws.

        Returns:
            float64 [B] by the score's name, NaN where nothing can be scored; in percent but for numbers of clicks.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no scores()")

    def take(self, index: np.ndarray) -> Self:
        """Returns the table of some of the images, int64 [n]."""
        raise NotImplementedError(f"{type(self).__name__} gives no take()")

    def joined(self, other: Self) -> Self:
        """Returns the table of the images of both, those of `other` after these; both have the same scores."""
        raise NotImplementedError(f"{type(self).__name__} gives no joined()")

    def lower_is_better(self, name: str) -> bool:
        """Returns whether lower values of a score are better."""
        return False

    def main_scores(self) -> tuple[str, ...]:
        """Returns the names of the scores of the whole set, those of single classes left out."""
        raise NotImplementedError(f"{type(self).__name__} gives no main_scores()")


def quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Returns above / below in float64, NaN for 0 / 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above, np.float64) / np.asarray(below, np.float64)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """Returns the means over the last axis of the values that are not NaN, NaN where all are."""
    is_known = ~np.isnan(values)
    return quotient(np.where(is_known, values, 0.0).sum(-1), is_known.sum(-1))
