"""Where sampled clicks may fall: regions of an object and around it, and draws from them. H W image, P = max_points.

RITM, Sofiiuk et al., arXiv 2102.06583, section 3.2, and its published code.
"""

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np

SQUARE = np.ones((3, 3), np.uint8)

LEAST_ERODED = 10
"""An erosion that leaves no more than these pixels is not done."""


LUCKY_DRAWS = 6
"""Pixels of the whole image that are tried before those of a region are listed."""


def count_law(most: int, gamma: float) -> np.ndarray:
    """-> float64 [most]: probabilities of 0, 1, ..., most - 1, proportional to gamma^k."""
    weights = float(gamma) ** np.arange(most)
    return weights / weights.sum()


def draw_number(law: np.ndarray, rng: np.random.Generator) -> int:
    """-> k with probability law[k]."""
    return min(int(np.searchsorted(np.cumsum(law), rng.random(), side="right")), len(law) - 1)


def eroded(mask: np.ndarray, steps: int) -> np.ndarray:
    """mask: bool [H,W] -> bool [H,W] after `steps` erosions by a square of 3 x 3, or the mask where at most 10 pixels
    would be left. The image's border erodes nothing."""
    inner = cv2.erode(mask.view(np.uint8), SQUARE, iterations=steps).view(bool)
    return inner if np.count_nonzero(inner) > LEAST_ERODED else mask


def border_ring(mask: np.ndarray, expand_ratio: float) -> np.ndarray:
    """mask: bool [H,W] -> bool [H,W]: pixels outside, within ceil(expand_ratio * sqrt(area)) of it along both axes."""
    steps = int(np.ceil(expand_ratio * np.sqrt(np.count_nonzero(mask))))
    if steps == 0:
        return np.zeros_like(mask)
    grown = cv2.dilate(mask.view(np.uint8), SQUARE, iterations=steps)
    return grown.view(bool) & ~mask


def depth(mask: np.ndarray) -> np.ndarray:
    """mask: bool [H,W] -> float32 [H,W]: exact distance to the nearest pixel outside, the image's outside included."""
    framed = cv2.copyMakeBorder(mask.view(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    return cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]


def central(mask: np.ndarray, inner_k: float) -> np.ndarray:
    """mask: bool [H,W]; inner_k > 0 -> bool [H,W]: pixels with more than 1 / inner_k of the largest depth."""
    distance = depth(mask)
    return distance > distance.max() / inner_k


def draw_by_depth(mask: np.ndarray, rng: np.random.Generator) -> tuple[int, int] | None:
    """mask: bool [H,W] -> (y, x) of a pixel drawn with probability proportional to its depth; None for an empty one."""
    sums = np.cumsum(depth(mask).ravel(), dtype=np.float64)
    if sums[-1] == 0:
        return None
    y, x = divmod(int(np.searchsorted(sums, rng.random() * sums[-1], side="right")), mask.shape[1])
    return y, x


class Region:
    """Pixels to draw from; their mask is made when the first is drawn. make: () -> bool [H,W]."""

    def __init__(self, make: Callable[[], np.ndarray]):
        self.make = make
        self._mask: np.ndarray | None = None
        self._pixels: np.ndarray | None = None

    def draw(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """-> (y, x), each pixel equally likely; None where there is none."""
        if self._mask is None:
            self._mask = self.make()
        place = self._draw_by_luck(rng) if self._pixels is None else None
        if place is None:
            if self._pixels is None:
                self._pixels = np.flatnonzero(self._mask)
            if not len(self._pixels):
                return None
            place = int(self._pixels[rng.integers(len(self._pixels))])
        y, x = divmod(place, self._mask.shape[1])
        return y, x

    def _draw_by_luck(self, rng: np.random.Generator) -> int | None:
        """-> the first of a few pixels of the image that lies in the region, which spares listing a large one."""
        for place in rng.integers(self._mask.size, size=LUCKY_DRAWS).tolist():
            if self._mask.item(place):
                return place
        return None


class Mixture(NamedTuple):
    """Regions of which each point draws its own. weights: float [n], their sum is 1."""

    weights: tuple[float, ...]
    regions: tuple[Region, ...]

    def draw(self, rng: np.random.Generator) -> tuple[int, int] | None:
        """-> (y, x), or None where the region drawn is empty."""
        number = draw_number(np.asarray(self.weights), rng) if len(self.weights) > 1 else 0
        return self.regions[number].draw(rng)


def joined(mixtures: list[Mixture]) -> Mixture:
    """-> the mixture in which each of the given ones has an equal share."""
    share = 1 / len(mixtures)
    return Mixture(
        tuple(share * weight for mixture in mixtures for weight in mixture.weights),
        tuple(region for mixture in mixtures for region in mixture.regions),
    )
