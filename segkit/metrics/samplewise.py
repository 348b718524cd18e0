"""Scores of label maps image by image: a small image weighs as much as a large one."""

from collections.abc import Sequence

import numpy as np

from segkit.dist import gather_objects
from segkit.metrics._pixel_pairs import PixelPairs
from segkit.metrics._reductions import ABSENT, ALL_SCORES, REDUCTIONS, counts_of_matrix, exact_mean, reduce_scores
from segkit.metrics._scores import percent
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, Prediction


@METRICS.register
class Samplewise:
    """IoU, Dice, F-score, accuracy, precision, recall, specificity and balanced accuracy of each image, averaged.

    reduction: "macro-imagewise" (mean over the classes of an image, then over images), "micro-imagewise" (all classes
    of an image as one), "weighted-imagewise" (weights of the classes), and "micro", "macro", "weighted", which sum the
    counts of all images first; the same names as in segmentation_models_pytorch, whose "weighted-imagewise" is K times
    smaller than the weighted mean returned here. absent: an image without a class in truth and prediction is left out
    of that class ("skip"), or scores 0 or 100 ("zero", "one"). beta: weight of recall in the F-score.
    """

    def __init__(
        self,
        reduction: str = "macro-imagewise",
        absent: str = "skip",
        *,
        class_weights: Sequence[float] | None = None,
        beta: float = 1.0,
    ):
        for name, value, known in (("reduction", reduction, REDUCTIONS[:-1]), ("absent", absent, tuple(ABSENT))):
            if value not in known:
                raise ConfigError(f"Samplewise.{name} = {value!r}: one of {', '.join(known)}")
        if reduction.startswith("weighted") and class_weights is None:
            raise ConfigError(f"Samplewise.class_weights: reduction '{reduction}' needs a weight for each class")
        self.reduction = reduction
        self.absent = absent
        self.class_weights = class_weights
        self.beta = beta

    def start(self, dataset) -> None:
        """Takes the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        if self.class_weights is not None and len(self.class_weights) != len(self.classes):
            raise ConfigError(
                f"Samplewise.class_weights: {len(self.class_weights)} weights for {len(self.classes)} classes"
            )
        self._pairs = PixelPairs(len(self.classes), getattr(dataset, "ignore", 255))
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._images: list[np.ndarray] = []
        self._pairs.forget()

    def update(self, prediction: Sequence[Prediction], batch: Batch) -> None:
        """Keeps 4 counts for each class of B images. "labels" and mask [H0,W0] as for Confusion."""
        for matrix, _ in self._pairs.of_batch(prediction, batch):
            self._images.append(counts_of_matrix(matrix.cpu().numpy()))

    def compute(self) -> dict:
        """-> {"samplewise": {score: percent, "per_class": {name: {score: mean over images}}, "images": n}}."""
        self._pairs.check()
        images = [counts for part in gather_objects(self._images) for counts in part]
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
