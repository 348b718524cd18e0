"""Scores from true and false positives of images and classes: seven ways to average."""

import math

import numpy as np

ALL_SCORES = ("IoU", "Dice", "Fscore", "Accuracy", "Precision", "Recall", "Specificity", "BalancedAccuracy")
REDUCTIONS = ("micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise", "none")
ABSENT = {"skip": math.nan, "zero": 0.0, "one": 1.0}


def counts_of_matrix(matrix: np.ndarray) -> np.ndarray:
    """Returns tp, fp, fn, tn of each class, int64 [4,K], in all all pixels; matrix: int64 [K,K], rows = truth."""
    tp = np.diagonal(matrix)
    fp, fn = matrix.sum(0) - tp, matrix.sum(1) - tp
    return np.stack([tp, fp, fn, matrix.sum() - tp - fp - fn])


def scores_of_counts(counts: np.ndarray, beta: float = 1.0) -> dict[str, np.ndarray]:
    """Computes each of ALL_SCORES from counts.

    Args:
        counts: int64 [4,...]: tp, fp, fn, tn.
        beta: weight of recall in the F-score.

    Returns:
        float64 [...] in 0..1 by name; 0 / 0 is NaN.
    """
    tp, fp, fn, tn = counts.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        recall, specificity = tp / (tp + fn), tn / (tn + fp)
        return {
            "IoU": tp / (tp + fp + fn),
            "Dice": 2 * tp / (2 * tp + fp + fn),
            "Fscore": (1 + beta**2) * tp / ((1 + beta**2) * tp + beta**2 * fn + fp),
            "Accuracy": (tp + tn) / (tp + fp + fn + tn),
            "Precision": tp / (tp + fp),
            "Recall": recall,
            "Specificity": specificity,
            "BalancedAccuracy": (recall + specificity) / 2,
        }


def reduce_scores(
    counts: np.ndarray, reduction: str, *, absent: str = "skip", weights: np.ndarray | None = None, beta: float = 1.0
) -> dict[str, np.ndarray]:
    """Averages scores over images and classes.

    Means are exactly rounded sums, hence the order of the images does not matter.

    Args:
        counts: int64 [4,N,K] of N images: tp, fp, fn, tn.
        reduction: "micro" scores the sum over images and classes; "macro" the sum over images, then takes the mean over
            classes; "weighted" the same with weights; "...-imagewise" scores each image in that way, then takes the
            mean over images; "none" scores every image and class.
        absent: value of 0 / 0: "skip" (NaN, left out of means), "zero" or "one".
        weights: float [K].
        beta: weight of recall in the F-score.

    Returns:
        Each of ALL_SCORES by name, float64 [] or, for "none", [N,K].
    """
    is_micro, is_weighted = reduction.startswith("micro"), reduction.startswith("weighted")
    if reduction != "none" and not reduction.endswith("imagewise"):
        counts = counts.sum(1, keepdims=True)
    if is_micro:
        counts = counts.sum(2, keepdims=True)
    weight = np.asarray(weights, np.float64) if is_weighted and weights is not None else np.ones(counts.shape[2])
    reduced = {}
    for name, values in scores_of_counts(counts, beta).items():
        values = np.where(np.isnan(values), ABSENT[absent], values)
        if reduction != "none":
            values = np.array(exact_mean(np.array([exact_mean(row, weight) for row in values])))
        reduced[name] = values
    return reduced


def exact_mean(values: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Returns the weighted mean of values [n] that are not NaN, from exactly rounded sums; NaN where none is left."""
    weights = np.ones(len(values)) if weights is None else weights
    is_kept = ~np.isnan(values)
    total = math.fsum(weights[is_kept])
    return math.fsum(values[is_kept] * weights[is_kept]) / total if total else math.nan
