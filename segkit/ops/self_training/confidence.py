"""From probabilities to pseudo labels: the surest class of each pixel, and where it is sure enough. K classes."""

from collections.abc import Sequence

import numpy as np

from segkit.types import IGNORE

MOST_CLASSES = IGNORE
"""Pseudo labels are maps of 8 bits, and 255 marks the pixels that are not sure."""

SCORE_STEPS = 255
"""Confidences are stored as whole numbers of 0 to 255."""


def with_background(probabilities: np.ndarray) -> np.ndarray:
    """Returns [2,H,W] for the single channel of a model of two classes; others stay as they are."""
    return np.concatenate([1 - probabilities, probabilities]) if len(probabilities) == 1 else probabilities


def labels_of(probabilities: np.ndarray, threshold: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Finds the class of each pixel.

    Args:
        probabilities: float32 [K,H,W].
        threshold: of two classes from one channel: class 1 is where its probability is above. None for the surest
            class.

    Returns:
        Its index, uint8 [H,W], the first where several are equally sure, and its probability, float32 [H,W].
    """
    if threshold is None:
        return probabilities.argmax(0).astype(np.uint8), probabilities.max(0)
    is_object = probabilities[1] > np.float32(threshold)
    return is_object.astype(np.uint8), np.where(is_object, probabilities[1], probabilities[0])


def keep_sure(
    labels: np.ndarray, confidence: np.ndarray, thresholds: float | Sequence[float] | np.ndarray
) -> np.ndarray:
    """Marks the pixels that are not sure by 255.

    Args:
        labels: uint8 [H,W]; 255 stays.
        confidence: float32 [H,W].
        thresholds: one for all classes, or one for each of K; a pixel of exactly that confidence is kept.

    Returns:
        uint8 [H,W].
    """
    limits = np.atleast_1d(np.asarray(thresholds, np.float32))
    least = limits[np.minimum(labels, len(limits) - 1)] if len(limits) > 1 else limits[0]
    return np.where((labels != IGNORE) & (confidence >= least), labels, np.uint8(IGNORE))


def agree(probabilities: Sequence[np.ndarray], threshold: float | None = None) -> np.ndarray:
    """Returns where all models give a pixel the same class, bool [H,W].

    Args:
        probabilities: of each model, float [K,H,W] or [1,H,W].
        threshold: as of labels_of.
    """
    first, *others = (labels_of(with_background(p), threshold)[0] for p in probabilities)
    return np.logical_and.reduce([np.ones(first.shape, bool), *(first == other for other in others)])


def pixel_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Returns the entropy of each pixel in nats, float64 [H,W]: 0 is sure, ln K knows nothing.

    Args:
        probabilities: float [K,H,W], or [K,n] of other things than pixels.
    """
    p = probabilities.astype(np.float64)
    return -np.where(p > 0, p * np.log(np.where(p > 0, p, 1.0)), 0.0).sum(0)


def image_entropy(probabilities: np.ndarray) -> float:
    """Returns the mean entropy of the pixels divided by ln K: 0 is sure, 1 knows nothing.

    Args:
        probabilities: float32 [K,H,W], K 2 or more.
    """
    return float(pixel_entropy(probabilities).mean() / np.log(max(len(probabilities), 2)))


def to_scores(confidence: np.ndarray) -> np.ndarray:
    """Returns confidences as uint8, floor(255 c): a score that reaches a threshold is of a confidence that does."""
    return np.floor(confidence.astype(np.float64) * SCORE_STEPS).clip(0, SCORE_STEPS).astype(np.uint8)
