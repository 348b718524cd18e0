"""The simulated clicks of evaluation: the next click falls in the middle of the largest error.

Section 4 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583; H W image.
"""

from typing import NamedTuple

import numpy as np

from segkit.ops.interactive.distance import distance_inside


class Click(NamedTuple):
    """A click: row and column in pixels, possibly fractional, and whether it marks the object."""

    y: float
    x: float
    is_positive: bool


def next_click(prediction: np.ndarray, target: np.ndarray, not_clicked: np.ndarray) -> Click:
    """Finds the pixel that is furthest from the border of a missed or of a wrongly predicted region.

    The image's border and ignored pixels are borders too. The click is positive where the missed region is deeper. Of
    several pixels with the same distance the first in reading order is taken; without any error it is the negative
    click at (0, 0). The paper words it as the largest region, the published code takes the distance.

    Args:
        prediction: bool [H,W], the predicted mask.
        target: int [H,W], object 1, rest 0, ignored -1.
        not_clicked: bool [H,W], False at earlier clicks.
    """
    is_object = target == 1
    missed = _depth(is_object & ~prediction) * not_clicked
    extra = _depth((target == 0) & prediction) * not_clicked
    is_positive = bool(missed.max() > extra.max())
    depth = missed if is_positive else extra
    y, x = divmod(int(depth.argmax()), depth.shape[1])
    return Click(y, x, is_positive)


def _depth(region: np.ndarray) -> np.ndarray:
    """Exact squared distance to the nearest pixel outside of a region, bool [H,W]; int64 [H,W].

    The last bit of OpenCV's roots differs from call to call, and would decide between pixels of the same distance;
    their squares are whole numbers.
    """
    if not region.any():
        return np.zeros(region.shape, np.int64)
    distance = distance_inside(region).astype(np.float64)
    return np.rint(distance * distance).astype(np.int64)


def mask_iou(prediction: np.ndarray, target: np.ndarray) -> float:
    """Returns the intersection over union of the pixels that are not ignored, in 0..1; 1 where both masks are empty.

    Args:
        prediction: bool [H,W], the predicted mask.
        target: int [H,W], object 1, rest 0, ignored -1.
    """
    is_object = target == 1
    intersection = np.count_nonzero(prediction & is_object)
    union = np.count_nonzero((prediction & (target != -1)) | is_object)
    return intersection / union if union else 1.0
