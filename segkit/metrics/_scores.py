"""Scores of classes from counts of pixels, and how they are named and averaged."""

from collections.abc import Sequence

import numpy as np

from segkit.registry import ConfigError, did_you_mean

SCORES = ("IoU", "Dice", "Acc", "Precision", "Recall", "Fscore")


def class_scores(matrix: np.ndarray, beta: float = 1.0) -> dict[str, np.ndarray]:
    """Computes the scores of each class from a confusion matrix.

    With tp, true = row sum, pred = column sum of a class: IoU = tp / (true + pred - tp), Dice = 2 tp / (true + pred),
    Acc = Recall = tp / true, Precision = tp / pred, Fscore = (1 + beta^2) P R / (beta^2 P + R). 0 / 0 is NaN.

    Args:
        matrix: int64 [K,K], rows = truth, columns = prediction.
        beta: weight of recall in the F-score.

    Returns:
        float64 [K] in 0..1 for each name of SCORES.
    """
    tp = np.diagonal(matrix).astype(np.float64)
    true, pred = matrix.sum(1).astype(np.float64), matrix.sum(0).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall = tp / pred, tp / true
        return {
            "IoU": tp / (true + pred - tp),
            "Dice": 2 * tp / (true + pred),
            "Acc": recall,
            "Precision": precision,
            "Recall": recall,
            "Fscore": (1 + beta**2) * precision * recall / (beta**2 * precision + recall),
        }


def percent(value: float) -> float | None:
    """Returns a ratio as percent; None, which is JSON's null, for NaN."""
    return None if np.isnan(value) else float(100 * value)


def mean_of(values: np.ndarray) -> float:
    """Returns the mean of the values that are not NaN; NaN where there are none."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def class_indices(names: Sequence[str | int], classes: Sequence[str], at: str) -> list[int]:
    """Returns the indices of classes.

    Args:
        names: names or indices.
        classes: names of all classes.
        at: the argument, for error messages.

    Raises:
        ConfigError: there is no such class.
    """
    indices = []
    for name in names:
        if isinstance(name, str) and name in classes:
            indices.append(list(classes).index(name))
        elif isinstance(name, int) and 0 <= name < len(classes):
            indices.append(name)
        else:
            hint = did_you_mean(str(name), classes) or f"; available: {', '.join(classes)}"
            raise ConfigError(f"{at}: no class {name!r}{hint}")
    return indices
