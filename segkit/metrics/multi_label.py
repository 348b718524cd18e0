"""Scores for pixels with several labels: one binary map for each class."""

from collections.abc import Sequence

import numpy as np
import torch

from segkit.constraints.named import Fraction, NonNegativeFloat
from segkit.dist import all_reduce_sum
from segkit.metrics._pixel_pairs import labelled_images
from segkit.metrics._reductions import ABSENT, ALL_SCORES, reduce_scores
from segkit.metrics._scores import percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, SemanticPrediction


@METRICS.register
class MultiLabel(Metric):
    """Binary scores of each class, their mean ("macro"), and the scores of all classes' pixels together ("micro").

    Args:
        threshold: least probability of a positive pixel.
        absent: score of a class that neither truth nor prediction has: left out ("skip"), 0 or 100 ("zero", "one").
        beta: weight of recall in the F-score.

    Raises:
        ConfigError: unknown `absent`.
    """

    main_score = "multi_label.macro.IoU"
    lower_is_better = ()

    def __init__(self, threshold: Fraction = 0.5, absent: str = "skip", *, beta: NonNegativeFloat = 1.0):
        if absent not in ABSENT:
            raise ConfigError(f"MultiLabel.absent = {absent!r}: must be one of {', '.join(ABSENT)}")
        self.threshold = threshold
        self.absent = absent
        self.beta = beta

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        self.ignore = dataset.ignore
        self.reset()

    def reset(self) -> None:
        """Sets all counts to 0."""
        self._counts = torch.zeros(4, len(self.classes), dtype=torch.int64)

    def update(self, predictions: Sequence[SemanticPrediction], batch: Batch) -> None:
        """Counts tp, fp, fn, tn of B images.

        Args:
            predictions: B with "probabilities" float [K,H0,W0].
            batch: "mask" holds B of [K,H0,W0] with 0, 1 and the data set's ignore value, which is not counted.

        Raises:
            ValueError: the shapes differ, or a mask has other values.
        """
        for prediction, truth, image in labelled_images(predictions, batch):
            truth = torch.as_tensor(truth)
            positive = (torch.as_tensor(prediction["probabilities"]) >= self.threshold).to(truth.device)
            if positive.shape != truth.shape or len(truth) != len(self.classes):
                raise ValueError(
                    f"{image}: probabilities {tuple(positive.shape)}, truth {tuple(truth.shape)}; both must be "
                    f"[{len(self.classes)},H,W]: one map for each class"
                )
            is_valid = truth != self.ignore
            known = (truth == 0) | (truth == 1) | ~is_valid
            if not known.all():
                value = int(truth[~known][0])
                raise ValueError(
                    f"{image}: label {value} in a multi-label mask; must be 0, 1 or {self.ignore} (ignored)"
                )
            yes, no = (truth == 1) & is_valid, (truth == 0) & is_valid
            cells = (positive & yes, positive & no, ~positive & yes, ~positive & no)
            self._counts += torch.stack([cell.flatten(1).sum(1) for cell in cells]).cpu()

    def compute(self) -> dict:
        """Returns {"multi_label": {"macro": {score: percent}, "micro": {...}, "per_class": {name: {...}}}}."""
        counts = all_reduce_sum(self._counts).numpy()[:, None]
        reduced = {name: self._scores(counts, name) for name in ("macro", "micro", "none")}
        each = reduced.pop("none")
        result: dict = {
            name: {score: percent(float(scores[score])) for score in ALL_SCORES} for name, scores in reduced.items()
        }
        result["per_class"] = {
            name: {score: percent(float(each[score][0, k])) for score in ALL_SCORES}
            for k, name in enumerate(self.classes)
        }
        return {"multi_label": result}

    def _scores(self, counts: np.ndarray, reduction: str) -> dict[str, np.ndarray]:
        return reduce_scores(counts, reduction, absent=self.absent, beta=self.beta)
