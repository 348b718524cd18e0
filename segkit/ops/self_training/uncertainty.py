"""How unsure one or several models are of each pixel. M models, K classes, H W image."""

from collections.abc import Sequence

import numpy as np

from segkit.ops.self_training.confidence import pixel_entropy

MEASURES = ("margin", "entropy", "bald", "votes")
"""Names of the measures."""

NEED_SEVERAL = ("bald", "votes")
"""Measures of how models differ, which one model alone has none of."""


def pixel_uncertainty(probabilities: Sequence[np.ndarray], measure: str) -> np.ndarray:
    """Measures how unsure models are of each pixel: 0 is sure, 1 knows nothing.

    "margin" is 1 - (p1 - p2) of the two surest classes in the mean of the models; "entropy" the entropy of that mean,
    divided by ln K; "bald" what the models' choice tells of the class: the entropy of the mean less the mean of the
    entropies, divided by ln min(M, K), which it cannot exceed; "votes" the entropy of the shares of models that choose
    each class, divided by ln min(M, K).

    Scheffer et al., IDA 2001 (margin); Houlsby et al., 2011, https://arxiv.org/abs/1112.5745 (BALD); Dagan and
    Engelson, ICML 1995 (vote entropy).

    Args:
        probabilities: of each model float [K,H,W], K 2 or more.
        measure: one of MEASURES.

    Returns:
        float32 [H,W] in 0..1.

    Raises:
        ValueError: there is no such measure.
    """
    if measure == "votes":
        values = _vote_entropy(probabilities) / _most(probabilities)
    elif measure == "bald":
        spread = pixel_entropy(_mean(probabilities)) - _mean([pixel_entropy(each) for each in probabilities])
        values = spread / _most(probabilities)
    elif measure == "entropy":
        values = pixel_entropy(_mean(probabilities)) / np.log(len(probabilities[0]))
    elif measure == "margin":
        first, second = np.partition(_mean(probabilities), -2, axis=0)[[-1, -2]]
        values = 1 - (first - second)
    else:
        raise ValueError(f"measure = {measure!r}: must be one of {', '.join(MEASURES)}")
    return np.clip(values, 0, 1).astype(np.float32)


def _mean(each: Sequence[np.ndarray]) -> np.ndarray:
    total = np.zeros(each[0].shape, np.float64)
    for values in each:
        total += values
    return total / len(each)


def _most(probabilities: Sequence[np.ndarray]) -> float:
    """The largest entropy of M choices among K classes; 1 for one model, whose values are all 0."""
    return float(np.log(max(min(len(probabilities), len(probabilities[0])), 2)))


def _vote_entropy(probabilities: Sequence[np.ndarray]) -> np.ndarray:
    votes = [each.argmax(0) for each in probabilities]
    counts = np.stack([np.sum([vote == k for vote in votes], axis=0) for k in range(len(probabilities[0]))])
    return pixel_entropy(counts / len(votes))


def object_uncertainty(scores: np.ndarray, measure: str) -> np.ndarray:
    """Measures how unsure a model is that what it found is an object: of scores near 1/2 most.

    Args:
        scores: float [n] in 0..1.
        measure: "margin", 1 - |2 s - 1|, or "entropy", that of s and 1 - s in bits.

    Returns:
        float64 [n] in 0..1.

    Raises:
        ValueError: the measure compares several models, or there is no such measure.
    """
    s = np.clip(np.asarray(scores, np.float64), 0, 1)
    if measure == "margin":
        return 1 - np.abs(2 * s - 1)
    if measure == "entropy":
        return pixel_entropy(np.stack([s, 1 - s])) / np.log(2)
    raise ValueError(f"measure = {measure!r}: must be 'margin' or 'entropy' for objects")
