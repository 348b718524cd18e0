"""Regions in which sampled clicks may fall, in and around an object, and random draws from them.

RITM, Sofiiuk et al., arXiv 2102.06583, section 3.2, and its published code. H W image.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

from segkit.ops.interactive.distance import distance_inside

SQUARE = np.ones((3, 3), np.uint8)

LEAST_ERODED = 10
"""An erosion that leaves no more than these pixels is not done."""


LUCKY_DRAWS = 6
"""Pixels of the whole image that are tried before the pixels of a region are listed."""


def count_law(most: int, gamma: float) -> np.ndarray:
    """Probabilities of the numbers of clicks, which fall off geometrically.

    Args:
        most: how many numbers there are: 0, 1, ..., most - 1.
        gamma: ratio of each probability to the one before.

    Returns:
        float64 [most]: probabilities proportional to gamma^k.
    """
    weights = float(gamma) ** np.arange(most)
    return weights / weights.sum()


def draw_number(law: np.ndarray, rng: np.random.Generator) -> int:
    """Draws k with probability law[k]; law: float64 [n] that sums to 1."""
    return min(int(np.searchsorted(np.cumsum(law), rng.random(), side="right")), len(law) - 1)


def eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    """Erodes a mask by a 3 x 3 square, unless almost nothing would be left.

    Args:
        mask: bool [H,W]. The image's border erodes nothing.
        steps: number of erosions.

    Returns:
        bool [H,W]: the eroded mask, or `mask` itself where at most 10 pixels would be left.
    """
    inner = cv2.erode(mask.view(np.uint8), SQUARE, iterations=steps).view(bool)
    return inner if np.count_nonzero(inner) > LEAST_ERODED else mask


def border_ring(mask: np.ndarray, expand_ratio: float) -> np.ndarray:
    """Ring of pixels around a mask.

    Args:
        mask: bool [H,W].
        expand_ratio: width of the ring as a share of the square root of the mask's area.

    Returns:
        bool [H,W]: pixels outside the mask, within ceil(expand_ratio * sqrt(area)) of it along both axes.
    """
    steps = int(np.ceil(expand_ratio * np.sqrt(np.count_nonzero(mask))))
    if steps == 0:
        return np.zeros_like(mask)
    grown = cv2.dilate(mask.view(np.uint8), SQUARE, iterations=steps)
    return grown.view(bool) & ~mask


def central(mask: np.ndarray, inner_k: float) -> np.ndarray:
    """Central pixels of a mask: those far from its border.

    Args:
        mask: bool [H,W].
        inner_k: larger than 0; the larger, the more pixels count as central.

    Returns:
        bool [H,W]: pixels whose distance to the border exceeds 1 / inner_k of the largest one.
    """
    distance = distance_inside(mask)
    return distance > distance.max() / inner_k


def draw_by_depth(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """Draws a pixel of a mask with probability proportional to its distance to the mask's border.

    Args:
        mask: bool [H,W].
        rng: source of randomness.

    Returns:
        (y, x), or None for an empty mask.
    """
    sums = np.cumsum(distance_inside(mask).ravel(), dtype=np.float64)
    if sums[-1] == 0:
        return None
    y, x = divmod(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")), mask.shape[1])
    return y, x


class Region:
    """Pixels to draw clicks from, computed only when the first one is drawn.

    Args:
        make: computes the region, bool [H,W].
    """

    def __init__(self, make: Callable[[], np.ndarray]):
        self.make = make
        self._mask: np.ndarray | None = None
        self._pixels: np.ndarray | None = None

    def draw(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """Draws a pixel, each equally likely: (y, x), or None where the region is empty."""
        if self._mask is None:
            self._mask = self.make()
        position = self._draw_by_luck(self._mask, rng) if self._pixels is None else None
        if position is None:
            if self._pixels is None:
                self._pixels = np.flatnonzero(self._mask)
            if not len(self._pixels):
                return None
            position = int(self._pixels[rng.integers(len(self._pixels))])
        y, x = divmod(position, self._mask.shape[1])
        return y, x

    def _draw_by_luck(self, mask: np.ndarray, rng: np.random.Generator) -> int | None:
        """Tries a few pixels of the image and returns the first one in the region: spares listing a large region."""
        for position in rng.integers(mask.size, size=LUCKY_DRAWS).tolist():
            if mask.item(position):
                return position
        return None


class Mixture(NamedTuple):
    """Several regions; each click is drawn from one of them, chosen at random.

    Args:
        weights: probability of each region, n floats that sum to 1.
        regions: n regions.
    """

    weights: tuple[float, ...]
    regions: tuple[Region, ...]

    def draw(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """Draws a region, then a pixel in it: (y, x), or None where that region is empty."""
        number = draw_number(np.asarray(self.weights), rng) if len(self.weights) > 1 else 0
        return self.regions[number].draw(rng)


def equal_mixture(mixtures: list[Mixture]) -> Mixture:
    """Merges mixtures into one in which each has the same probability."""
    share = 1 / len(mixtures)
    return Mixture(
        tuple(share * weight for mixture in mixtures for weight in mixture.weights),
        tuple(region for mixture in mixtures for region in mixture.regions),
    )
