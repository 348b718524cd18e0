"""Boundary IoU of label maps.

Cheng et al., CVPR 2021, https://arxiv.org/abs/2103.16562.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch

from segkit.constraints.named import Fraction
from segkit.dist import all_reduce_sum
from segkit.metrics._pixel_pairs import LabelMap, PixelPairs, labelled_images
from segkit.metrics._scores import class_scores, mean_of, percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS
from segkit.types import Batch


def boundary_width(height: int, width: int, ratio: float) -> int:
    """Returns the width of the band in pixels: a share of the image's diagonal, at least 1 (section 4 of the paper)."""
    return max(1, round(ratio * float(np.hypot(height, width))))


def is_boundary(labels: np.ndarray, width: int) -> np.ndarray:
    """Finds the pixels near a boundary: another label, or the outside of the image, lies within `width` pixels.

    Distances are along rows, columns and diagonals (a square of 2 width + 1). This is each class's mask without its
    erosion, for all classes at once: a square whose smallest and largest label are equal lies inside a class.

    Args:
        labels: uint8 or int16 [H,W].
        width: in pixels.

    Returns:
        bool [H,W].
    """
    square = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    found = cv2.erode(labels, square) != cv2.dilate(labels, square)
    found[:width], found[-width:], found[:, :width], found[:, -width:] = True, True, True, True
    return found


@METRICS.register
class BoundaryIoU(Metric):
    """Boundary IoU: IoU of the bands along the boundaries of truth and prediction, for each class.

    |G_d and P_d| / |G_d or P_d|, where G_d and P_d are the pixels of a class within d of its boundary, in the truth and
    in the prediction, counted over all pixels of the data set (eq. 1). Ignored pixels are cut out of truth and
    prediction alike before the bands are taken, so that a perfect prediction scores 100; a class without a band in
    truth and prediction is left out of the mean (null).

    Args:
        dilation_ratio: d as a share of the image's diagonal, at original size.
    """

    main_score = "boundary.mIoU"
    lower_is_better = ()

    def __init__(self, dilation_ratio: Fraction = 0.02):
        self.dilation_ratio = dilation_ratio

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        self._ignore = dataset.ignore
        self._pairs = PixelPairs(len(self.classes), self._ignore)
        self.reset()

    def reset(self) -> None:
        """Sets all counts to 0."""
        num_classes = len(self.classes)
        self._counts = torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.int64)
        self._pairs.forget()

    def update(self, predictions: Sequence[LabelMap], batch: Batch) -> None:
        """Counts the bands of B images, on the CPU; arguments as of Confusion."""
        num_classes = len(self.classes)
        for prediction, truth, image in labelled_images(predictions, batch):
            labels, truth = torch.as_tensor(prediction["labels"]).cpu(), torch.as_tensor(truth).cpu()
            self._pairs.of_image(labels, truth, image)  # raises for values outside the classes
            ignored = truth.numpy() == self._ignore
            bands = []
            for values in (truth, labels):
                cut = np.where(ignored, num_classes, values.numpy()).astype(np.int16)
                height, width = cut.shape
                width = boundary_width(height, width, self.dilation_ratio)
                bands.append(torch.from_numpy(np.where(is_boundary(cut, width), cut, num_classes)))
            # class K holds what lies in no band, in both maps
            self._counts += PixelPairs(num_classes + 1, None).of_image(bands[1], bands[0], image)

    def compute(self) -> dict:
        """Returns {"boundary": {"mIoU": percent, "per_class": {name: {"IoU": percent}}}}."""
        counts = all_reduce_sum(self._counts).numpy()
        iou = class_scores(counts)["IoU"][: len(self.classes)]
        per_class = {name: {"IoU": percent(value)} for name, value in zip(self.classes, iou)}
        return {"boundary": {"mIoU": percent(mean_of(iou)), "per_class": per_class}}
