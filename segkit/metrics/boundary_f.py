"""Boundary F-score of label maps.

Perazzi et al., DAVIS, CVPR 2016, section 4.1, for one object; Takikawa et al., Gated-SCNN, ICCV 2019, section 4,
https://arxiv.org/abs/1907.05740, for classes.
"""

from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np

from segkit.constraints.named import Fraction, OneOf
from segkit.metrics._masks_of_images import MasksOfImages
from segkit.metrics._reductions import ABSENT, exact_mean
from segkit.metrics._scores import mean_of, percent
from segkit.registry import METRICS, ConfigError


def outline(mask: np.ndarray) -> np.ndarray:
    """Marks where a mask changes: a pixel that differs from its right, lower or lower right neighbor.

    Pixels of the last row and column have the one neighbor that is left, the last pixel has none; the image's frame is
    no outline.

    Args:
        mask: bool [H,W].

    Returns:
        bool [H,W].
    """
    padded = np.pad(mask, ((0, 1), (0, 1)), mode="edge")
    right, below, diagonal = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return (mask != right) | (mask != below) | (mask != diagonal)


def boundary_f(truth: np.ndarray, prediction: np.ndarray, radii: Sequence[int]) -> np.ndarray:
    """Computes the F-score of a mask's outline.

    Args:
        truth, prediction: bool [H,W].
        radii: n of them. A pixel of one outline is found where one of the other lies at most so far, in pixels from
            center to center.

    Returns:
        float64 [n], 2 P R / (P + R), with P the share of the predicted outline that is found and R that of the true
        one; 0 where one of them is empty, NaN where both are.
    """
    outlines = [outline(truth), outline(prediction)]
    if not outlines[0].any() or not outlines[1].any():
        return np.full(len(radii), 0.0 if outlines[0].any() or outlines[1].any() else np.nan)
    distances = [
        cv2.distanceTransform((~line).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for line in outlines
    ]
    # Squares of distances are whole numbers, which float32 rounds.
    squared = [np.rint(of_other[line] ** 2) for line, of_other in zip(outlines, distances[::-1])]
    scores = []
    for radius in radii:
        recall, precision = (float(np.mean(each <= radius * radius)) for each in squared)
        scores.append(2 * precision * recall / (precision + recall) if precision + recall else 0.0)
    return np.array(scores)


@METRICS.register
class BoundaryF(MasksOfImages):
    """Boundary F-score of each class in each image, averaged over images, then over classes.

    Ignored pixels belong to no class, in truth and prediction alike.

    Args:
        thresholds: how far outlines may lie apart, as shares of the image's diagonal, at original size; rounded up to
            whole pixels. The default is Gated-SCNN's: 1, 4, 9 and 12 pixels of 2048 x 1024.
        absent: a class without an outline in truth and prediction of an image is left out of its mean ("skip"), or
            scores 0 or 100 ("zero", "one"; the authors of Gated-SCNN count 100).

    Raises:
        ConfigError: an unknown `absent`, or no threshold.
    """

    main_score = "boundary_f.mean"
    lower_is_better = ()

    def __init__(
        self,
        thresholds: tuple[Fraction, ...] = (0.0005, 0.001875, 0.00375, 0.005),
        absent: Annotated[str, OneOf(ABSENT)] = "skip",
    ):
        if absent not in ABSENT:
            raise ConfigError(f"BoundaryF.absent = {absent!r}: must be one of {', '.join(ABSENT)}")
        if not thresholds:
            raise ConfigError("BoundaryF.thresholds = (): there is nothing to score; give one threshold or several")
        self.thresholds, self.absent = tuple(thresholds), absent

    def of_image(self, truth: np.ndarray, prediction: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """Returns the scores at each threshold of each class, float64 [thresholds, K]; see MasksOfImages.of_image."""
        diagonal = float(np.hypot(*truth.shape))
        radii = [int(np.ceil(threshold * diagonal)) for threshold in self.thresholds]
        scores = np.stack(
            [boundary_f((truth == k) & valid, (prediction == k) & valid, radii) for k in range(len(self.classes))], 1
        )
        return np.where(np.isnan(scores), ABSENT[self.absent], scores)

    def compute(self) -> dict:
        """Returns {"boundary_f": {"mean": percent, "F@threshold": percent, "per_class": {name: {"F@...": percent}}}}.

        "mean" is that of the thresholds.
        """
        stacked = self.all_images((len(self.thresholds), len(self.classes)))
        means = np.array([[exact_mean(of_class) for of_class in each.T] for each in stacked.transpose(1, 0, 2)])
        keys = [f"F@{threshold:g}" for threshold in self.thresholds]
        over_classes = [mean_of(row) for row in means]
        result: dict = {"mean": percent(mean_of(np.array(over_classes)))}
        result |= {key: percent(value) for key, value in zip(keys, over_classes)}
        result["per_class"] = {
            name: {key: percent(float(row[k])) for key, row in zip(keys, means)} for k, name in enumerate(self.classes)
        }
        return {"boundary_f": result}
