"""Pixel weights that keep touching objects apart, Ronneberger, Fischer and Brox, U-Net, MICCAI 2015.

https://arxiv.org/abs/1505.04597, section 3, equation 2. H W image.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from segkit.constraints.named import NonNegativeFloat, PositiveFloat
from segkit.data.transforms.base import Transform
from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample


@TRANSFORMS.register
class CellWeights(Transform):
    """U-Net's pixel weights, large on the background between cells.

    Reads mask; sets pixel_weight, float32 [H,W], to w_c + border * exp(-(d1 + d2)^2 / (2 sigma^2)), with d1 and d2 the
    distances in pixels to the nearest and to the second nearest cell. Cells are the connected components (8 neighbours)
    of pixels that are neither `background` nor `ignore`; in masks of classes they have to be apart. The second term
    applies to background pixels, and is 0 with fewer than two cells.

    It stands last, since no transform moves the weights; the loss reads them by target=["mask", "pixel_weight"].

    Args:
        border: the paper's w_0, 10 there.
        sigma: in pixels, 5 in the paper.
        class_weight: w_c by class; None is 1.
        background: the label between cells.
        ignore: label of pixels that are neither cell nor background.

    Raises:
        ConfigError: where `border` is negative or `sigma` not positive, and for a mask with more classes than
            `class_weight` has weights.
    """

    def __init__(
        self,
        border: NonNegativeFloat = 10.0,
        sigma: PositiveFloat = 5.0,
        *,
        class_weight: Sequence[NonNegativeFloat] | None = None,
        background: int = 0,
        ignore: int = IGNORE,
    ):
        if border < 0 or sigma <= 0:
            raise ConfigError(
                f"CellWeights.border = {border}, sigma = {sigma}: border must be at least 0, sigma above 0"
            )
        self.border, self.sigma, self.background, self.ignore = border, sigma, background, ignore
        self.class_weight = None if class_weight is None else np.asarray(class_weight, np.float32)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Returns the sample with pixel_weight; without a mask the given one. rng is not used."""
        if sample.get("mask") is None:
            return sample
        mask = sample["mask"]
        if mask.ndim == 3:
            raise ConfigError("CellWeights: needs one class per pixel, and these overlap; remove it")
        if self.class_weight is None:
            weight = np.ones(mask.shape, np.float32)
        else:
            weight = self._of_classes(mask, self.class_weight)
        near, second = two_nearest(mask, (self.background, self.ignore))
        between = (mask == self.background) & np.isfinite(second)
        weight[between] += self.border * np.exp(-((near + second)[between] ** 2) / (2 * self.sigma**2))
        changed = Sample(**sample)
        changed["pixel_weight"] = weight
        return changed

    def _of_classes(self, mask: np.ndarray, class_weight: np.ndarray) -> np.ndarray:
        """w_c of each pixel, 0 where it is ignored."""
        known = mask != self.ignore
        largest = int(mask[known].max(initial=0))
        if largest >= len(class_weight):
            raise ConfigError(
                f"CellWeights.class_weight: {len(class_weight)} weights, and the mask has class {largest}; give one "
                "for each class"
            )
        return np.where(known, class_weight[np.where(known, mask, 0)], 0).astype(np.float32)


def two_nearest(mask: np.ndarray, others: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Measures how far each pixel is from the nearest and from the second nearest cell.

    Args:
        mask: int [H,W].
        others: labels that are no cell.

    Returns:
        Two distances in pixels, float32 [H,W], infinite where there are not as many cells.
    """
    count, cells = cv2.connectedComponents((~np.isin(mask, others)).astype(np.uint8), connectivity=8)
    near = np.full(mask.shape, np.inf, np.float32)
    second = np.full(mask.shape, np.inf, np.float32)
    for cell in range(1, count):
        away = cv2.distanceTransform((cells != cell).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second = np.minimum(second, np.maximum(near, away))
        near = np.minimum(near, away)
    return near, second
