"""From true and false positives of images and classes to one score: seven ways to average."""

import math

import numpy as np

ALL_SCORES = ("IoU", "Dice", "Fscore", "Accuracy", "Precision", "Recall", "Specificity", "BalancedAccuracy")
REDUCTIONS = ("micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise", "none")
ABSENT = {"skip": math.nan, "zero": 0.0, "one": 1.0}


def counts_of_matrix(matrix: np.ndarray) -> np.ndarray:
    """matrix: int64 [K,K], rows = truth -> int64 [4,K]: tp, fp, fn, tn of each class; they add up to all pixels."""
    tp = np.diagonal(matrix)
    fp, fn = matrix.sum(0) - tp, matrix.sum(1) - tp
    return np.stack([tp, fp, fn, matrix.sum() - tp - fp - fn])


def scores_of_counts(counts: np.ndarray, beta: float = 1.0) -> dict[str, np.ndarray]:
    """counts: int64 [4,...] tp, fp, fn, tn -> float64 [...] in 0..1 for each of ALL_SCORES; 0 / 0 is NaN."""
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
    """counts: int64 [4,N,K] of N images -> each of ALL_SCORES, float64 [] or, for "none", [N,K].

    reduction: "micro" scores the sum over images and classes; "macro" the sum over images, then the mean over classes;
    "weighted" the same with weights float [K]; "...-imagewise" scores each image so, then takes the mean over images;
    "none" every image and class. absent: value of 0 / 0: "skip" (NaN, left out of means), "zero" or "one".
    Means are exactly rounded sums, hence the order of the images does not matter.
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
    """Weighted mean of the values [n] that are no NaN, of sums exactly rounded in any order; NaN where none is left."""
    weights = np.ones(len(values)) if weights is None else weights
    is_kept = ~np.isnan(values)
    total = math.fsum(weights[is_kept])
    return math.fsum(values[is_kept] * weights[is_kept]) / total if total else math.nan
