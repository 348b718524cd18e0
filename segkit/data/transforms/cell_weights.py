"""Weights of pixels that keep touching objects apart. Ronneberger, Fischer and Brox, U-Net, MICCAI 2015,
https://arxiv.org/abs/1505.04597, section 3, equation 2. H W image, n cells."""

from collections.abc import Sequence

import cv2
import numpy as np

from segkit.registry import TRANSFORMS, ConfigError
from segkit.types import IGNORE, Sample


@TRANSFORMS.register
class CellWeights:
    """Sets pixel_weight to w_c + border * exp(-(d1 + d2)^2 / (2 sigma^2)), with d1 and d2 the distances in pixels to
    the nearest and to the second nearest cell.

    Cells are the connected parts (8 neighbours) of pixels that are neither `background` nor `ignore`, which in masks of
    classes have to be apart; the second term is that of the background between them and 0 with fewer than two cells.
    class_weight: w_c by class, None is 1. border, sigma: 10 and 5 in the paper. It stands last, since no transform
    moves the weights; the loss reads them by target=["mask", "pixel_weight"].
    """

    def __init__(
        self,
        border: float = 10.0,
        sigma: float = 5.0,
        *,
        class_weight: Sequence[float] | None = None,
        background: int = 0,
        ignore: int = IGNORE,
    ):
        if border < 0 or sigma <= 0:
            raise ConfigError(f"CellWeights.border = {border}, sigma = {sigma}: at least 0, and above 0")
        self.border, self.sigma, self.background, self.ignore = border, sigma, background, ignore
        self.class_weight = None if class_weight is None else np.asarray(class_weight, np.float32)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """sample: mask int [H,W] -> the sample with pixel_weight float32 [H,W]; without a mask as it is. rng is not
        used."""
        if sample.get("mask") is None:
            return sample
        mask = sample["mask"]
        weight = np.ones(mask.shape, np.float32) if self.class_weight is None else self._of_classes(mask)
        near, second = two_nearest(mask, (self.background, self.ignore))
        between = (mask == self.background) & np.isfinite(second)
        weight[between] += self.border * np.exp(-((near + second)[between] ** 2) / (2 * self.sigma**2))
        return Sample(**{**sample, "pixel_weight": weight})

    def _of_classes(self, mask: np.ndarray) -> np.ndarray:
        known = mask != self.ignore
        largest = int(mask[known].max(initial=0))
        if largest >= len(self.class_weight):
            raise ConfigError(
                f"CellWeights.class_weight: {len(self.class_weight)} weights, and the mask has class {largest}; give "
                "one for each class"
            )
        return np.where(known, self.class_weight[np.where(known, mask, 0)], 0).astype(np.float32)


def two_nearest(mask: np.ndarray, others: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """mask: int [H,W]; others: labels that are no cell -> distances in pixels to the nearest and the second nearest
    cell, float32 [H,W], infinite where there are not as many."""
    count, cells = cv2.connectedComponents((~np.isin(mask, others)).astype(np.uint8), connectivity=8)
    near, second = (np.full(mask.shape, np.inf, np.float32) for _ in range(2))
    for cell in range(1, count):
        away = cv2.distanceTransform((cells != cell).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        second = np.minimum(second, np.maximum(near, away))
        near = np.minimum(near, away)
    return near, second
