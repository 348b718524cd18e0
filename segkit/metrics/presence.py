"""Scores of the presence of classes in whole images, and the thresholds at which a class gate is best.

K classes, n images, T thresholds.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segkit.constraints.named import Fraction, PositiveInt
from segkit.dist import gather_objects
from segkit.metrics._pixel_pairs import labelled_images
from segkit.metrics._scores import mean_of, percent
from segkit.metrics.base import LabelledSet, Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, SemanticPrediction


def presence_scores(presence: np.ndarray, is_present: np.ndarray, threshold: float) -> dict[str, np.ndarray]:
    """Computes scores of a classifier of whole images.

    Args:
        presence: float [n,K], probabilities.
        is_present: bool [n,K], the truth.
        threshold: probability from which on a class counts as present.

    Returns:
        float64 [K] in 0..1 each: "Acc", the share of the images that are right; "F1" = 2 tp / (2 tp + fp + fn); "AUC",
        the share of pairs of an image with and one without the class in which the first has the higher probability,
        equal ones counting half. 0 / 0 is NaN.
    """
    found = presence >= threshold
    tp, wrong = (found & is_present).sum(0), (found != is_present).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy = (found == is_present).sum(0) / np.float64(len(found))
        f1 = 2 * tp / np.float64(2 * tp + wrong)
    auc = np.array([_auc(presence[:, k], is_present[:, k]) for k in range(presence.shape[1])], np.float64)
    return {"Acc": accuracy, "F1": f1, "AUC": auc}


def _auc(values: np.ndarray, is_present: np.ndarray) -> float:
    """By ranks; equal values share the mean of theirs."""
    positive = int(is_present.sum())
    negative = len(values) - positive
    if not positive or not negative:
        return float("nan")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float((ranks[is_present].sum() - positive * (positive + 1) / 2) / (positive * negative))


def best_thresholds(
    kept: np.ndarray, removed: np.ndarray, presence: np.ndarray, grid: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Finds for each class the first threshold of a grid at which gated masks have the largest mean Dice.

    Args:
        kept: float [n,K], Dice of each mask with its truth, 1 where both are empty.
        removed: float [n,K], Dice of an empty mask with the truth: 1 where the truth is empty, else 0.
        presence: float [n,K]; a mask stays where it is at least the threshold.
        grid: float [T].

    Returns:
        Threshold and mean Dice of each class, float64 [K].
    """
    values = np.stack([np.where(presence >= t, kept, removed).mean(0, dtype=np.float64) for t in grid])
    first = values.argmax(0)
    return grid[first], values.max(0)


class _OfPresence(Metric):
    """What metrics of the presence of classes share: rows of images, gathered from all processes."""

    def start(self, dataset: LabelledSet) -> None:
        """Reads the data set's classes and ignore value."""
        self.classes = tuple(dataset.classes)
        self.ignore = dataset.ignore
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self._rows: list[list[np.ndarray]] = []

    def update(self, predictions: Sequence[SemanticPrediction], batch: Batch) -> None:
        """Takes the images of a batch.

        Args:
            predictions: B with "presence" float [K] and "labels" [H0,W0]; with K = 1 the presence of class 1 of two.
            batch: "mask" holds B of [H0,W0].

        Raises:
            ConfigError: the model does not predict the presence of classes, or of another number of them.
        """
        for prediction, truth, _ in labelled_images(predictions, batch):
            if "presence" not in prediction:
                raise ConfigError(
                    f"metrics: {type(self).__name__} reads 'presence', which this model does not predict; add "
                    "dict(type='PresenceHead') to model.aux and a row ClassPresence to losses, or remove the metric"
                )
            presence = torch.as_tensor(prediction["presence"]).float().cpu()
            is_single = len(presence) == 1 and len(self.classes) == 2
            numbers = range(1, 2) if is_single else range(len(presence))
            if len(numbers) != len(self.classes) - is_single:
                raise ConfigError(
                    f"metrics: {type(self).__name__} reads the presence of {len(presence)} classes, and the data has "
                    f"{len(self.classes)}"
                )
            row = self._row(torch.as_tensor(prediction["labels"]), torch.as_tensor(truth), numbers)
            self._rows.append([presence.numpy(), *row])

    def _row(self, labels: Tensor, truth: Tensor, numbers: range) -> list[np.ndarray]:
        """Of one image; one number for each class in each array."""
        raise NotImplementedError(f"{type(self).__name__} gives no _row()")

    def _columns(self, count: int) -> tuple[tuple[str, ...], list[np.ndarray]]:
        """Names of the K classes, and the arrays of all rows, [n,K] each."""
        rows = [row for of_process in gather_objects(self._rows) for row in of_process]
        width = len(rows[0][0]) if rows else len(self.classes)
        return self.classes[-width:], [np.array([r[i] for r in rows]).reshape(len(rows), width) for i in range(count)]


@METRICS.register
class Presence(_OfPresence):
    """Accuracy, F1 and area under the ROC curve of the presence of each class, which a classification branch predicts.

    A class is present in the truth where a pixel has its label. Means leave out what cannot be scored, such as the AUC
    of a class that all images hold.

    Args:
        threshold: probability from which on a class counts as present.
    """

    main_score = "presence.AUC"
    lower_is_better = ()

    def __init__(self, threshold: Fraction = 0.5):
        self.threshold = threshold

    def _row(self, labels: Tensor, truth: Tensor, numbers: range) -> list[np.ndarray]:
        return [np.array([bool((truth == k).any()) for k in numbers])]

    def compute(self) -> dict:
        """Returns {"presence": {"Acc", "F1", "AUC": mean over classes, "per_class": {name: {...}}, "images": n}}."""
        classes, (presence, is_present) = self._columns(2)
        scores = presence_scores(presence, is_present.astype(bool), self.threshold)
        result: dict = {name: percent(mean_of(values)) for name, values in scores.items()}
        result["per_class"] = {
            name: {score: percent(float(values[k])) for score, values in scores.items()}
            for k, name in enumerate(classes)
        }
        return {"presence": {**result, "images": len(presence)}}


@METRICS.register
class GateThresholds(_OfPresence):
    """For each class the threshold of the refiner ClassGate that gives the largest mean Dice over the images.

    It gates the predicted masks of each class alone, an empty mask of an absent class scoring 100; the first of equally
    good thresholds counts. The predictions must not be gated yet. Choose thresholds on validation images.

    Args:
        steps: thresholds are 0, 1 / steps, ..., 1.
    """

    main_score = "gate.Dice"
    lower_is_better = ()

    def __init__(self, steps: PositiveInt = 20):
        self.steps = steps

    def _row(self, labels: Tensor, truth: Tensor, numbers: range) -> list[np.ndarray]:
        valid = truth != self.ignore
        kept, removed = [], []
        for k in numbers:
            found, wanted = (labels.to(truth.device) == k) & valid, truth == k
            total = int(found.sum()) + int(wanted.sum())
            kept.append(2 * int((found & wanted).sum()) / total if total else 1.0)
            removed.append(float(not wanted.any()))
        return [np.array(kept), np.array(removed)]

    def compute(self) -> dict:
        """Returns {"gate": {"Dice", "plain_Dice": means over classes, "per_class": {name: {...}}, "images": n}}.

        A class has "threshold", in 0..1, "Dice" with it and "plain_Dice" without a gate.
        """
        classes, (presence, kept, removed) = self._columns(3)
        if not len(presence):
            return {"gate": {"Dice": None, "plain_Dice": None, "per_class": {}, "images": 0}}
        grid = np.arange(self.steps + 1) / self.steps
        thresholds, dice = best_thresholds(kept, removed, presence, grid)
        plain = kept.mean(0, dtype=np.float64)
        each = {
            name: {"threshold": float(thresholds[k]), "Dice": percent(dice[k]), "plain_Dice": percent(plain[k])}
            for k, name in enumerate(classes)
        }
        means = {"Dice": percent(dice.mean()), "plain_Dice": percent(plain.mean())}
        return {"gate": {**means, "per_class": each, "images": len(presence)}}
