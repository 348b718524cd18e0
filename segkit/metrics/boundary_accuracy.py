"""Mean boundary accuracy (mBA): the pixel accuracy near the true outlines.

Cheng et al., CascadePSP, CVPR 2020, section 4.2, https://arxiv.org/abs/2005.02551.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from segkit.dist import gather_objects
from segkit.metrics._pixel_pairs import LabelMap, PixelPairs, labelled_images
from segkit.metrics._reductions import exact_mean
from segkit.metrics._scores import mean_of, percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS
from segkit.types import Batch

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
class BoundaryAccuracy(Metric):
    """Mean boundary accuracy (mBA) of each class in each image, averaged over images, then over classes.

    A class without an outline in the truth of an image is left out of its mean. Of two classes both have the same
    value, that of the published metric for masks.
    """

    main_score = "mBA.mean"
    lower_is_better = ()

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        self._ignore = dataset.ignore
        self._pairs = PixelPairs(len(self.classes), self._ignore)
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._images: list[np.ndarray] = []
        self._pairs.forget()

    def update(self, predictions: Sequence[LabelMap], batch: Batch) -> None:
        """Scores B images, on the CPU; arguments as of Confusion."""
        for prediction, truth, image in labelled_images(predictions, batch):
            labels, truth = torch.as_tensor(prediction["labels"]).cpu(), torch.as_tensor(truth).cpu()
            self._pairs.of_image(labels, truth, image)  # raises for values outside the classes
            true, predicted = truth.numpy(), labels.numpy()
            valid = true != self._ignore
            scores = [boundary_accuracy(true == k, predicted == k, valid) for k in range(len(self.classes))]
            self._images.append(np.array(scores))

    def compute(self) -> dict:
        """Returns {"mBA": {"mean": percent, "per_class": {name: percent}}}."""
        images = [scores for of_process in gather_objects(self._images) for scores in of_process]
        stacked = np.stack(images) if images else np.zeros((0, len(self.classes)))
        means = np.array([exact_mean(of_class) for of_class in stacked.T])
        per_class = {name: percent(float(mean)) for name, mean in zip(self.classes, means)}
        return {"mBA": {"mean": percent(mean_of(means)), "per_class": per_class}}
