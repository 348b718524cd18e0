"""The next click of evaluation: the middle of the region that is furthest from right.

Section 4 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583; H W image.
"""

from typing import NamedTuple

import numpy as np

from segkit.ops.interactive.distance import distance_inside


class Click(NamedTuple):
    """Row and column in pixels, possibly fractional, and whether it marks the object."""

    y: float
    x: float
    is_positive: bool


def next_click(prediction: np.ndarray, target: np.ndarray, not_clicked: np.ndarray) -> Click:
    """prediction: bool [H,W]; target: int [H,W], object 1, rest 0, ignored -1; not_clicked: bool [H,W].

    The pixel furthest from the border of a missed or of a wrongly found region, the image's border and ignored pixels
    being borders too; positive where the missed one is further. The first of equals in reading order; without any error
    the negative click at (0, 0). The paper words it as the largest region, the published code takes the distance.
    """
    is_object = target == 1
    missed = _depth(is_object & ~prediction) * not_clicked
    extra = _depth((target == 0) & prediction) * not_clicked
    is_positive = bool(missed.max() > extra.max())
    depth = missed if is_positive else extra
    y, x = divmod(int(depth.argmax()), depth.shape[1])
    return Click(y, x, is_positive)


def _depth(region: np.ndarray) -> np.ndarray:
    """bool [H,W] -> int64 [H,W], exact squared distance to the nearest pixel outside. The last bit of OpenCV's roots
    differs from call to call, and with it the choice among equals; their squares are whole numbers."""
    if not region.any():
        return np.zeros(region.shape, np.int64)
    distance = distance_inside(region).astype(np.float64)
    return np.rint(distance * distance).astype(np.int64)


def mask_iou(prediction: np.ndarray, target: np.ndarray) -> float:
    """As next_click -> intersection over union of the pixels that are not ignored; 1 where both are empty."""
    is_object = target == 1
    intersection = np.count_nonzero(prediction & is_object)
    union = np.count_nonzero((prediction & (target != -1)) | is_object)
    return intersection / union if union else 1.0
