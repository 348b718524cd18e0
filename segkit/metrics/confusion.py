"""IoU, Dice, F-score and accuracies of label maps from one confusion matrix over all pixels."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from segkit.constraints.named import NonNegativeFloat, OneOf
from segkit.dist import all_reduce_sum
from segkit.metrics._pixel_pairs import LabelMap, PixelPairs
from segkit.metrics._scores import SCORES, class_indices, class_scores, mean_of, percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch

ABSENT = ("skip", "skip_without_truth", "zero", "one")


@METRICS.register
class Confusion(Metric):
    """Mean IoU and other scores from the confusion matrix of all pixels of the data set.

    Pixels of the data set's ignore value are not counted. compute() sums the int64 counts of all processes, hence does
    not depend on their number.

    Args:
        groups: classes (names or indices) by the name of a group, such as old and new classes; each group gets means of
            its own.
        exclude: classes (names or indices) left out of the means over classes, such as the background; aAcc and fwIoU
            count pixels and keep them.
        absent: what a class whose score is 0 / 0 does to the means: "skip" leaves it out (as mmsegmentation does),
            "skip_without_truth" leaves out every class without a pixel in the truth, "zero" and "one" count it with 0
            or 100.
        beta: weight of recall in the F-score.

    Raises:
        ConfigError: unknown `absent`.
    """

    main_score = "mIoU"
    lower_is_better = ()

    def __init__(
        self,
        groups: dict[str, list] | None = None,
        exclude: Sequence[str | int] = (),
        *,
        absent: Annotated[str, OneOf(ABSENT)] = "skip",
        beta: NonNegativeFloat = 1.0,
    ):
        if absent not in ABSENT:
            raise ConfigError(f"Confusion.absent = {absent!r}: must be one of {', '.join(ABSENT)}")
        self.groups = groups or {}
        self.exclude = exclude
        self.absent = absent
        self.beta = beta
        self.classes: tuple[str, ...] = ()
        self._counts: dict[torch.device, Tensor] = {}
        self._total: Tensor | None = None

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value, and sets all counts to 0.

        Raises:
            ConfigError: groups or exclude name a class that the data set does not have.
        """
        self.classes = tuple(dataset.classes)
        self._pairs = PixelPairs(len(self.classes), dataset.ignore)
        self._kept = np.ones(len(self.classes), bool)
        self._kept[class_indices(self.exclude, self.classes, "Confusion.exclude")] = False
        self._members = {
            name: class_indices(members, self.classes, f"Confusion.groups.{name}")
            for name, members in self.groups.items()
        }
        self.reset()

    def reset(self) -> None:
        """Sets all counts to 0."""
        self._counts = {}
        self._pairs.forget()
        self._total = None

    def update(self, predictions: Sequence[LabelMap], batch: Batch) -> None:
        """Counts the pixels of B images.

        Args:
            predictions: B with "labels" uint8, int16 or int64 [H0,W0], tensors on any device or numpy arrays.
            batch: "mask" holds B of [H0,W0].

        Raises:
            ValueError: a value outside the classes, with the image's name: at once on the CPU, in compute() for tensors
                on a GPU, which is not waited for before.
        """
        self._total = None
        for counts, _ in self._pairs.of_batch(predictions, batch):
            device = counts.device
            self._counts[device] = self._counts[device] + counts if device in self._counts else counts

    def matrix(self) -> Tensor:
        """Returns the confusion matrix, int64 [K,K], rows = truth; of all processes once compute() has run."""
        return self._local() if self._total is None else self._total.clone()

    def compute(self) -> dict:
        """Computes the scores of all processes.

        Returns:
            mIoU, mDice, mFscore, mPrecision, mRecall, aAcc, mAcc, fwIoU, per_class and, where there are groups, groups,
            in percent; None where nothing is scored.
        """
        self._pairs.check()
        self._total = all_reduce_sum(self._local())
        matrix = self._total.numpy()
        scores = self._with_absent(class_scores(matrix, self.beta), matrix)
        result: dict = self._means(scores, self._kept)
        result |= self._over_pixels(matrix)
        result["per_class"] = {
            name: {score: percent(scores[score][k]) for score in SCORES} for k, name in enumerate(self.classes)
        }
        for name, members in self._members.items():
            result.setdefault("groups", {})[name] = self._means(scores, np.isin(np.arange(len(self.classes)), members))
        return result

    def _with_absent(self, scores: dict[str, np.ndarray], matrix: np.ndarray) -> dict[str, np.ndarray]:
        if self.absent == "skip_without_truth":
            return {name: np.where(matrix.sum(1) > 0, values, np.nan) for name, values in scores.items()}
        if self.absent == "skip":
            return scores
        return {name: np.nan_to_num(values, nan=float(self.absent == "one")) for name, values in scores.items()}

    @staticmethod
    def _means(scores: dict[str, np.ndarray], kept: np.ndarray) -> dict[str, float | None]:
        return {f"m{name}": percent(mean_of(scores[name][kept])) for name in SCORES}

    @staticmethod
    def _over_pixels(matrix: np.ndarray) -> dict[str, float | None]:
        pixels = int(matrix.sum())
        if not pixels:
            return {"aAcc": None, "fwIoU": None}
        # a class without a true pixel has no weight, whatever its IoU
        weighted = np.nan_to_num(class_scores(matrix)["IoU"]) * (matrix.sum(1) / pixels)
        return {"aAcc": percent(np.trace(matrix) / pixels), "fwIoU": percent(weighted.sum())}

    def _local(self) -> Tensor:
        num_classes = len(self.classes)
        total = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        for counts in self._counts.values():
            total += counts.cpu()
        return total
