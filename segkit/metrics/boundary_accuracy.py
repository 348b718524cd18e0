"""Mean boundary accuracy (mBA): the pixel accuracy near the true outlines.

Cheng et al., CascadePSP, CVPR 2020, section 4.2, https://arxiv.org/abs/2005.02551.
"""

import cv2
import numpy as np

from segkit.metrics._masks_of_images import MasksOfImages
from segkit.metrics._reductions import exact_mean
from segkit.metrics._scores import mean_of, percent
from segkit.registry import METRICS

RADII = 5
"""Widths of the band along outlines over which accuracies are averaged."""

PER_RADIUS = 300
"""The widest band's radius is the sum of the image's sides, divided by this."""


def boundary_accuracy(truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray | None = None) -> float:
    """Computes the mean boundary accuracy of one mask.

    A pixel lies in the band of radius r where a disc of that radius (OpenCV's ellipse of side 2 r + 1) around it holds
    pixels of the true mask and others. The radii are 1 + floor((largest - 1) i / 5), i = 0..4, with (H + W) / 300 for
    the largest.

    Args:
        truth, prediction: bool [H,W].
        valid: bool [H,W], pixels that count; None for all. The others make no outline.

    Returns:
        The share of right pixels in the band, the mean of the five, in 0..1; NaN without an outline.
    """
    valid = np.ones_like(truth) if valid is None else valid
    inside, outside = (part.astype(np.uint8) for part in (truth & valid, ~truth & valid))
    is_right = truth == prediction
    largest = sum(truth.shape) / PER_RADIUS
    accuracies = []
    for i in range(RADII):
        side = 2 * (1 + int((largest - 1) / RADII * i)) + 1
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        band = (cv2.dilate(inside, disc) > 0) & (cv2.dilate(outside, disc) > 0) & valid
        accuracies.append(is_right[band].mean() if band.any() else np.nan)
    return float(np.mean(accuracies))


@METRICS.register
class BoundaryAccuracy(MasksOfImages):
    """Mean boundary accuracy (mBA) of each class in each image, averaged over images, then over classes.

    A class without an outline in the truth of an image is left out of its mean. Of two classes both have the same
    value, that of the published metric for masks.
    """

    main_score = "mBA.mean"
    lower_is_better = ()

    def of_image(self, truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Returns the accuracy of each class, float64 [K]; see MasksOfImages.of_image."""
        return np.array([boundary_accuracy(truth == k, prediction == k, valid) for k in range(len(self.classes))])

    def compute(self) -> dict:
        """Returns {"mBA": {"mean": percent, "per_class": {name: percent}}}."""
        means = np.array([exact_mean(of_class) for of_class in self.all_images((len(self.classes),)).T])
        per_class = {name: percent(float(mean)) for name, mean in zip(self.classes, means)}
        return {"mBA": {"mean": percent(mean_of(means)), "per_class": per_class}}
