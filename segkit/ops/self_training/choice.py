"""What to label next: the most uncertain items, items that cover the others, and uncertain boxes. n items, D features.

Sener and Savarese, Active Learning for Convolutional Neural Networks: A Core-Set Approach, ICLR 2018,
https://arxiv.org/abs/1708.00489.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np

RULES = ("uncertain", "diverse", "both")
"""Names of the rules by which images are chosen."""


class Chosen(NamedTuple):
    """An item that was chosen.

    Attributes:
        item: its number.
        distance: to the nearest item that was covered or chosen before; NaN where the rule looks at none, infinite of
            the first where there was none.
    """

    item: int
    distance: float


def k_center(features: np.ndarray, covered: np.ndarray, count: int, first: int = 0) -> list[Chosen]:
    """Chooses items one by one, each the farthest from those covered and chosen before (greedy k-center).

    Args:
        features: float [n,D] of the items.
        covered: float [m,D] of items that need not be chosen any more, m 0 or more.
        count: items to choose, n at most.
        first: the item to begin with where nothing is covered.

    Returns:
        The items in the order in which they were chosen, of equal ones the first. Distances are Euclidean.
    """
    points = features.astype(np.float64)
    squares = (points**2).sum(1)
    nearest = np.full(len(points), np.inf)
    for start in range(0, len(covered), 1024):
        centers = covered[start : start + 1024].astype(np.float64)
        distances = squares[:, None] - 2 * points @ centers.T + (centers**2).sum(1)
        nearest = np.minimum(nearest, distances.min(1))
    found: list[Chosen] = []
    for _ in range(count):
        index = int(nearest.argmax()) if found or len(covered) else first
        found.append(Chosen(index, math.sqrt(max(float(nearest[index]), 0.0))))
        nearest = np.minimum(nearest, ((points - points[index]) ** 2).sum(1))
        nearest[index] = -1.0  # below every distance, so that nothing is chosen twice
    return found


def choose(
    uncertainty: np.ndarray, features: np.ndarray, covered: np.ndarray, count: int, rule: str, *, factor: float = 4.0
) -> list[Chosen]:
    """Chooses items to label.

    "uncertain" takes the most uncertain ones. "diverse" is k_center on the features; where nothing is covered it begins
    with the most uncertain item. "both" is k_center among the `factor` x `count` most uncertain ones alone.

    Args:
        uncertainty: float [n], of the items that may be chosen.
        features: float [n,D]; not read by "uncertain".
        covered: float [m,D] of items that are labelled already.
        count: items to choose; all where there are fewer.
        rule: one of RULES.
        factor: candidates for each item, 1 or more: 1 is "uncertain", and "diverse" from n / count on.

    Returns:
        The items in the order in which they were chosen, of equal ones the first.

    Raises:
        ValueError: there is no such rule.
    """
    if rule not in RULES:
        raise ValueError(f"rule = {rule!r}: must be one of {', '.join(RULES)}")
    count = min(count, len(uncertainty))
    order = np.argsort(-uncertainty, kind="stable")
    if rule == "uncertain":
        return [Chosen(int(index), math.nan) for index in order[:count]]
    candidates = order[: max(math.ceil(factor * count), count)] if rule == "both" else order
    return [Chosen(int(candidates[i]), d) for i, d in k_center(features[candidates], covered, count)]


class UncertainBox(NamedTuple):
    """A box of an image: x0, y0, x1, y1 in pixels, x1 and y1 exclusive, and the mean uncertainty of its pixels."""

    x0: int
    y0: int
    x1: int
    y1: int
    uncertainty: float

    @property
    def cost(self) -> int:
        """Pixels to label."""
        return (self.x1 - self.x0) * (self.y1 - self.y0)


def uncertain_boxes(values: np.ndarray, side: int, most: int) -> list[UncertainBox]:
    """Finds the squares of one size whose pixels are the most uncertain and that do not overlap.

    Squares lie at every half of their side and at the borders; the best one is taken, then the best one that does not
    overlap it, and so on. A side of the image that is shorter is covered whole.

    Args:
        values: float32 [H,W], the uncertainty of each pixel.
        side: of the squares in pixels.
        most: squares at most.

    Returns:
        The most uncertain first; of equal ones the upper, then the left.
    """
    height, width = values.shape
    high, wide = min(side, height), min(side, width)
    sums = cv2.integral(values, sdepth=cv2.CV_64F)
    rows, columns = _starts(height, high, side), _starts(width, wide, side)
    lower, upper = sums[rows + high], sums[rows]
    means = (lower[:, columns + wide] - lower[:, columns] - upper[:, columns + wide] + upper[:, columns]) / (
        high * wide
    )
    found: list[UncertainBox] = []
    for _ in range(most):
        row, column = np.unravel_index(means.argmax(), means.shape)
        if not np.isfinite(means[row, column]):
            break
        y, x = int(rows[row]), int(columns[column])
        found.append(UncertainBox(x, y, x + wide, y + high, max(float(means[row, column]), 0.0)))
        overlaps = (np.abs(rows - y) < high)[:, None] & (np.abs(columns - x) < wide)
        means[overlaps] = -np.inf
    return found


def _starts(length: int, part: int, side: int) -> np.ndarray:
    """Where parts of a length begin: at every half of their side, and the last one at the end."""
    last = length - part
    return np.unique([*range(0, last + 1, max(side // 2, 1)), last])
