"""Scores of label maps image by image: a small image weighs as much as a large one."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np

from segkit.constraints.named import NonNegativeFloat, OneOf
from segkit.dist import gather_objects
from segkit.metrics._pixel_pairs import LabelMap, PixelPairs
from segkit.metrics._reductions import ABSENT, ALL_SCORES, REDUCTIONS, counts_of_matrix, exact_mean, reduce_scores
from segkit.metrics._scores import percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch


@METRICS.register
class Samplewise(Metric):
    """IoU, Dice, F-score, accuracy, precision, recall, specificity and balanced accuracy of each image, averaged.

    Args:
        reduction: "macro-imagewise" (mean over the classes of an image, then over images), "micro-imagewise" (all
            classes of an image as one), "weighted-imagewise" (weights of the classes), and "micro", "macro",
            "weighted", which sum the counts of all images first; the same names as in segmentation_models_pytorch,
            whose "weighted-imagewise" is K times smaller than the weighted mean returned here.
        absent: an image without a class in truth and prediction is left out of that class ("skip"), or scores 0 or 100
            ("zero", "one").
        class_weights: K numbers for the weighted reductions.
        beta: weight of recall in the F-score.

    Raises:
        ConfigError: unknown reduction or `absent`, or a weighted reduction without class weights.
    """

    main_score = "samplewise.IoU"
    lower_is_better = ()

    def __init__(
        self,
        reduction: Annotated[str, OneOf(REDUCTIONS[:-1])] = "macro-imagewise",
        absent: Annotated[str, OneOf(ABSENT)] = "skip",
        *,
        class_weights: Sequence[NonNegativeFloat] | None = None,
        beta: NonNegativeFloat = 1.0,
    ):
        if reduction not in REDUCTIONS[:-1]:
            raise ConfigError(f"Samplewise.reduction = {reduction!r}: must be one of {', '.join(REDUCTIONS[:-1])}")
        if absent not in ABSENT:
            raise ConfigError(f"Samplewise.absent = {absent!r}: must be one of {', '.join(ABSENT)}")
        if reduction.startswith("weighted") and class_weights is None:
            raise ConfigError(f"Samplewise.class_weights: reduction '{reduction}' needs a weight for each class")
        self.reduction = reduction
        self.absent = absent
        self.class_weights = class_weights
        self.beta = beta

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value.

        Raises:
            ConfigError: there is not one weight for each class.
        """
        self.classes = tuple(dataset.classes)
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise ConfigError(
                f"Samplewise.class_weights: {len(self.class_weights)} weights for {len(self.classes)} classes"
            )
        self._pairs = PixelPairs(len(self.classes), dataset.ignore)
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._images: list[np.ndarray] = []
        self._pairs.forget()

    def update(self, predictions: Sequence[LabelMap], batch: Batch) -> None:
        """Keeps 4 counts for each class of B images; arguments as of Confusion."""
        for matrix, _ in self._pairs.of_batch(predictions, batch):
            self._images.append(counts_of_matrix(matrix.cpu().numpy()))

    def compute(self) -> dict:
        """Returns {"samplewise": {score: percent, "per_class": {name: {score: mean over images}}, "images": n}}."""
        self._pairs.check()
        images = [counts for of_process in gather_objects(self._images) for counts in of_process]
        counts = np.stack(images, 1) if images else np.zeros((4, 0, len(self.classes)), np.int64)
        weights = None if self.class_weights is None else np.asarray(self.class_weights, np.float64)
        means = reduce_scores(counts, self.reduction, absent=self.absent, weights=weights, beta=self.beta)
        result: dict = {name: percent(float(means[name])) for name in ALL_SCORES}
        each = reduce_scores(counts, "none", absent=self.absent, beta=self.beta)
        result["per_class"] = {
            name: {score: percent(exact_mean(each[score][:, k])) for score in ALL_SCORES}
            for k, name in enumerate(self.classes)
        }
        return {"samplewise": result | {"images": len(images)}}
