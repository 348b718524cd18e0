"""Intervals of scores by the bootstrap, and the comparison of two models on the same images.

Efron and Tibshirani, An Introduction to the Bootstrap, 1993: chapter 13 (percentile), 14 (BCa), 15 (permutation).
N images, B draws.
"""

import math
from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple, TypeVar

import numpy as np

from segkit.analysis.table import ImageTable
from segkit.registry import ConfigError

REPLICATES = 1000
"""Draws where none are named."""

LEVEL = 0.95
"""Probability that an interval holds the score."""

MOST_WEIGHTS = 4_000_000
"""Weights of the draws that are scored together."""

MOST_LEFT_OUT = 500
"""Parts that are left out one after the other for the acceleration of BCa; of more images groups are left out."""

TIE = 1e-9
"""Differences of scores closer than this are the same, whatever order their sums were taken in."""

Table = TypeVar("Table", bound=ImageTable)


class Interval(NamedTuple):
    """A score and where it lies.

    Attributes:
        value: of all images.
        low, high: ends of the interval of the percentiles.
        bca_low, bca_high: the same, corrected for bias and skewness.
    """

    value: float
    low: float
    high: float
    bca_low: float
    bca_high: float


class Difference(NamedTuple):
    """How a score of a second model differs from that of a first one on the same images.

    Attributes:
        first, second: both scores.
        difference: second - first with its interval, from draws of images that both models share.
        p: probability of a difference at least as large, were the two models alike: the share of random exchanges of
            their results, image by image, that give one.
    """

    first: float
    second: float
    difference: Interval
    p: float


class Plan(NamedTuple):
    """How images are drawn.

    Attributes:
        replicates: draws, and exchanges of a comparison.
        level: of the intervals.
        seed: of all draws.
        is_stratified: whether as many images of each main class are drawn as there are.
    """

    replicates: int = REPLICATES
    level: float = LEVEL
    seed: int = 0
    is_stratified: bool = True

    def check(self) -> None:
        """Raises a ConfigError where a value is out of range."""
        if self.replicates < 100:
            raise ConfigError(f"--draws {self.replicates}: must be 100 or more; 1000 give ends that hardly move")
        if not 0 < self.level < 1:
            raise ConfigError(f"--level {self.level}: must lie between 0 and 1, such as 0.95")


def draws(strata: Sequence[str], plan: Plan) -> Iterator[np.ndarray]:
    """Draws images with replacement.

    Args:
        strata: N names; within each as many images are drawn as there are, or within all of them together.
        plan: see Plan.

    Yields:
        How often each image was drawn, int32 [b,N], in blocks of draws; the same for the same arguments.
    """
    count, rng = len(strata), np.random.default_rng([plan.seed, 0])
    names = np.asarray(strata, dtype=np.str_) if plan.is_stratified else np.zeros(count, np.str_)
    groups = [np.flatnonzero(names == name) for name in np.unique(names)]
    for size in _blocks(plan.replicates, count):
        weights = np.zeros((size, count), np.int32)
        for group in groups:
            weights[:, group] = rng.multinomial(len(group), np.full(len(group), 1 / len(group)), size)
        yield weights


def _blocks(replicates: int, count: int) -> list[int]:
    size = max(MOST_WEIGHTS // max(count, 1), 1)
    return [min(size, replicates - start) for start in range(0, replicates, size)]


def intervals(table: ImageTable, plan: Plan) -> dict[str, Interval]:
    """Computes the interval of every score of a table.

    Args:
        table: of N images.
        plan: how they are drawn.

    Returns:
        By the score's name; all values NaN where the score cannot be computed.
    """
    whole = _one(table.scores(np.ones((1, len(table.images)), np.int32)))
    drawn = _stacked([table.scores(weights) for weights in draws(table.strata, plan)])
    left = _stacked([table.scores(weights) for weights in left_out(len(table.images))])
    return {name: interval(whole[name], drawn[name], left[name], plan.level) for name in whole}


def left_out(count: int) -> Iterator[np.ndarray]:
    """Yields weights int32 [b,N] that leave out one image each, of many images one of MOST_LEFT_OUT groups."""
    parts = min(count, MOST_LEFT_OUT)
    part_of = np.arange(count) % max(parts, 1)
    done = 0
    for size in _blocks(parts, count):
        yield (part_of[None] != np.arange(done, done + size)[:, None]).astype(np.int32)
        done += size


def interval(value: float, drawn: np.ndarray, left: np.ndarray, level: float) -> Interval:
    """Computes the interval of one score.

    Args:
        value: of all images.
        drawn: float64 [B] of the draws; NaN where a draw has no score, left out.
        left: float64 [n] without one part of the images each.
        level: probability that the interval holds the score.

    Returns:
        NaN for the ends where there is no value or fewer than half the draws have a score.
    """
    known = drawn[~np.isnan(drawn)]
    if math.isnan(value) or 2 * len(known) < len(drawn):
        return Interval(value, math.nan, math.nan, math.nan, math.nan)
    tails = ((1 - level) / 2, (1 + level) / 2)
    low, high = (float(end) for end in np.quantile(known, tails))
    shares = bca_shares(value, known, left[~np.isnan(left)], tails)
    bca_low, bca_high = (float(end) for end in np.quantile(known, shares))
    return Interval(value, low, high, bca_low, bca_high)


def bca_shares(value: float, drawn: np.ndarray, left: np.ndarray, tails: Sequence[float]) -> tuple[float, ...]:
    """Returns which shares of the draws lie below the ends of a BCa interval; the tails where nothing varies.

    Args:
        value: of all images.
        drawn: float64 [B], finite.
        left: float64 [n], finite.
        tails: shares of the ends of the plain interval.
    """
    normal = NormalDist()
    below = float(((drawn < value - TIE).sum() + 0.5 * (np.abs(drawn - value) <= TIE).sum()) / len(drawn))
    deviations = left.mean() - left if len(left) else np.zeros(1)
    square = float((deviations**2).sum())
    if not 0 < below < 1 or square <= TIE**2:
        return tuple(tails)
    bias = normal.inv_cdf(below)
    acceleration = float((deviations**3).sum()) / (6 * square**1.5)
    found = []
    for tail in tails:
        shifted = bias + normal.inv_cdf(tail)
        found.append(normal.cdf(bias + shifted / (1 - acceleration * shifted)))
    return tuple(found)


def compared(first: Table, second: Table, plan: Plan) -> dict[str, Difference]:
    """Compares two models on the same images.

    Args:
        first, second: tables of the same N images in the same order.
        plan: how they are drawn.

    Returns:
        By the name of each score that both tables have.
    """
    count = len(first.images)
    ones = np.ones((1, count), np.int32)
    whole = [_one(table.scores(ones)) for table in (first, second)]
    names = [name for name in whole[0] if name in whole[1]]
    drawn = _stacked([_minus(first, second, weights) for weights in draws(first.strata, plan)])
    left = _stacked([_minus(first, second, weights) for weights in left_out(count)])
    both = first.joined(second)
    exchanged = _stacked([_exchanged(both, swaps) for swaps in exchanges(count, plan)])
    found = {}
    for name in names:
        a, b = whole[0][name], whole[1][name]
        known = exchanged[name][~np.isnan(exchanged[name])]
        extreme = int((np.abs(known) >= abs(b - a) - TIE).sum())
        p = math.nan if math.isnan(b - a) else (1 + extreme) / (1 + len(known))
        found[name] = Difference(a, b, interval(b - a, drawn[name], left[name], plan.level), p)
    return found


def exchanges(count: int, plan: Plan) -> Iterator[np.ndarray]:
    """Yields whether the results of each image are exchanged, bool [b,N] in blocks; each with a probability of half."""
    rng = np.random.default_rng([plan.seed, 1])
    for size in _blocks(plan.replicates, count):
        yield rng.random((size, count)) < 0.5


def _minus(first: ImageTable, second: ImageTable, weights: np.ndarray) -> dict[str, np.ndarray]:
    a, b = first.scores(weights), second.scores(weights)
    return {name: b[name] - a[name] for name in a if name in b}


def _exchanged(both: ImageTable, swaps: np.ndarray) -> dict[str, np.ndarray]:
    """Differences of two sets, in which some images have the results of the other model."""
    taken = swaps.astype(np.int32)
    a = both.scores(np.concatenate([1 - taken, taken], 1))
    b = both.scores(np.concatenate([taken, 1 - taken], 1))
    return {name: b[name] - a[name] for name in a}


def _one(scores: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values[0]) for name, values in scores.items()}


def _stacked(blocks: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]} if blocks else {}
