"""The simulated clicks of evaluation: the next click falls in the middle of the largest error.

Section 4 of Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583; H W image.
"""

from typing import NamedTuple, Protocol

import numpy as np

from segkit.ops.interactive.distance import distance_inside


class Click(NamedTuple):
    """A click: row and column in pixels, possibly fractional, and whether it marks the object."""

    y: float
    x: float
    is_positive: bool


class Clicker(Protocol):
    """Decides where an object is clicked next."""

    def __call__(
        self, prediction: np.ndarray, target: np.ndarray, not_clicked: np.ndarray, rng: np.random.RandomState
    ) -> Click:
        """Chooses the next click.

        Args:
            prediction: bool [H,W], the predicted mask.
            target: int [H,W], object 1, rest 0, ignored -1.
            not_clicked: bool [H,W], False at earlier clicks.
            rng: of this object; a clicker that draws nothing leaves it alone.
        """


class Error(NamedTuple):
    """The region that the next click corrects.

    Attributes:
        is_positive: whether it is missed, and not predicted too much.
        region: bool [H,W].
        depth: int64 [H,W], squared distance to the nearest pixel outside of the region; 0 at earlier clicks.
    """

    is_positive: bool
    region: np.ndarray
    depth: np.ndarray

    @property
    def deepest(self) -> Click:
        """The click on the deepest pixel, the first in reading order of equally deep ones."""
        y, x = divmod(int(self.depth.argmax()), self.depth.shape[1])
        return Click(y, x, self.is_positive)


def find_error(prediction: np.ndarray, target: np.ndarray, not_clicked: np.ndarray) -> Error:
    """Finds the deeper one of the missed and the wrongly predicted pixels; arguments as of next_click."""
    missed, extra = (target == 1) & ~prediction, (target == 0) & prediction
    depths = _depth(missed) * not_clicked, _depth(extra) * not_clicked
    is_positive = bool(depths[0].max() > depths[1].max())
    return Error(is_positive, missed if is_positive else extra, depths[0] if is_positive else depths[1])


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
    return find_error(prediction, target, not_clicked).deepest


class DeepestClicker:
    """Clicks where the error is deepest, see next_click: the clicks of published scores."""

    def __call__(
        self, prediction: np.ndarray, target: np.ndarray, not_clicked: np.ndarray, rng: np.random.RandomState
    ) -> Click:
        """As Clicker."""
        return next_click(prediction, target, not_clicked)


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
