"""Scores of competitions: the mask of each image and class is one object, and their scores are averaged.

K classes, n pairs of image and class.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch

from segkit.dist import gather_objects
from segkit.metrics._pixel_pairs import labelled_images
from segkit.metrics._scores import percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS
from segkit.types import Batch, MultiLabelPrediction


class MaskScore(Metric):
    """Base of metrics that average a score of counts over all pairs of image and class.

    Attributes:
        name: of the score among the results; NAME_of holds it by class.
    """

    name: str
    lower_is_better = ()

    def score(self, overlap: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Scores masks by their pixels.

        Args:
            overlap: int64, pixels in both masks; any shape.
            predicted: pixels of the predicted ones.
            true: pixels of the true ones.

        Returns:
            float64 in 0..1 of that shape; 1 where both masks are empty.
        """
        raise NotImplementedError(f"{type(self).__name__} has no score()")

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        self.ignore = dataset.ignore
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._counts: list[np.ndarray] = []

    def update(self, predictions: Sequence[MultiLabelPrediction], batch: Batch) -> None:
        """Counts the pixels of B images.

        Args:
            predictions: B with "positive" bool [K,H0,W0].
            batch: "mask" holds B of [K,H0,W0] with 0, 1 and the data set's ignore value, which is not counted.

        Raises:
            ValueError: the predictions have no masks, the shapes differ, or a mask has other values.
        """
        for prediction, truth, image in labelled_images(predictions, batch):
            if "positive" not in prediction:
                raise ValueError(
                    f"{image}: {type(self).__name__} scores a mask of each class, and this runner predicts none; set "
                    "runner = dict(type='MultiLabel')"
                )
            positive, truth = torch.as_tensor(prediction["positive"]), torch.as_tensor(truth)
            counts = counts_of(positive, truth.to(positive.device), self.ignore, image)
            if counts.shape[1] != len(self.classes):
                raise ValueError(f"{image}: {counts.shape[1]} masks for {len(self.classes)} classes")
            self._counts.append(counts)

    def compute(self) -> dict:
        """Returns {NAME: percent, NAME_of: {class: percent}}; None without an image."""
        counts = [image for of_process in gather_objects(self._counts) for image in of_process]
        table = np.stack(counts, axis=1) if counts else np.zeros((3, 0, len(self.classes)), np.int64)
        scores = self.score(*table)
        # exactly rounded sums, so that the order of the images does not matter
        each = [math.fsum(column) / len(column) if len(column) else math.nan for column in scores.T]
        mean = math.fsum(scores.ravel()) / scores.size if scores.size else math.nan
        return {self.name: percent(mean), f"{self.name}_of": dict(zip(self.classes, map(percent, each)))}


def counts_of(positive: torch.Tensor, truth: torch.Tensor, ignore: int, image: str) -> np.ndarray:
    """Counts the pixels of masks.

    Args:
        positive: bool [K,H,W], predicted.
        truth: integer [K,H,W] of 0, 1 and `ignore`, on the same device.
        ignore: value of pixels that do not count.
        image: id, for the error.

    Returns:
        int64 [3,K]: pixels in both, in the predicted and in the true masks.

    Raises:
        ValueError: the shapes differ, or `truth` has another value.
    """
    if positive.shape != truth.shape or truth.dim() != 3:
        raise ValueError(
            f"{image}: predicted masks {tuple(positive.shape)}, truth {tuple(truth.shape)}; both must be [K,H,W], one "
            "mask for each class"
        )
    is_true, is_valid = truth == 1, truth != ignore
    known = is_true | (truth == 0) | ~is_valid
    if not known.all():
        raise ValueError(f"{image}: label {int(truth[~known][0])} in a mask; must be 0, 1 or {ignore} (ignored)")
    positive = positive & is_valid
    cells = (positive & is_true, positive, is_true)
    return torch.stack([cell.flatten(1).sum(1) for cell in cells]).cpu().numpy()


@METRICS.register
class MeanDice(MaskScore):
    """Dice of each image and class, averaged; two empty masks score 1, an empty one and another 0.

    2 |A and B| / (|A| + |B|); the score of Understanding Clouds and of SIIM-ACR pneumothorax.
    """

    name = "MeanDice"
    main_score = "MeanDice"

    def score(self, overlap: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Returns the Dice score, see MaskScore.score."""
        total = predicted + true
        return np.where(total > 0, 2 * overlap / np.maximum(total, 1), 1.0)


@METRICS.register
class MeanPrecision(MaskScore):
    """Share of the IoU thresholds .5, .55, ... .95 that the IoU of each image and class exceeds, averaged.

    Two empty masks score 1, an empty one and another 0. The score of TGS Salt, whose images hold one object at most:
    of a single object, true positives / (true + false positives + false negatives) is 1 above the threshold, else 0.
    """

    name = "MeanPrecision"
    main_score = "MeanPrecision"

    def score(self, overlap: np.ndarray, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """Returns the share of thresholds, see MaskScore.score."""
        union = predicted + true - overlap
        # whole numbers, so that an IoU of just .55 does not exceed .55 by rounding
        hits = sum((100 * overlap > threshold * union).astype(np.int64) for threshold in range(50, 100, 5))
        return np.where(union > 0, hits / 10, 1.0)
