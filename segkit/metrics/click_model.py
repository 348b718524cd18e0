"""How well a click map tells where users click: five measures of a map against the clicks of users.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 4. H W image, n clicks.
"""

from typing import NamedTuple

import numpy as np

SIGNIFICANT = 0.05
"""Probability above which two samples count as of one distribution."""

SMALL = 1e-9
"""Added to denominators."""


class ClickModelScores(NamedTuple):
    """Measures of a click map.

    Attributes:
        ks: share of drawn samples of n clicks that the two-dimensional Kolmogorov-Smirnov test cannot tell from the
            users' clicks; higher is better.
        wd: mean Wasserstein distance of drawn samples to the users' clicks, over the diagonal of the object's box.
        pl1: mean L1 distance of all pairs of a drawn and a user's click, over width and height of the object's box.
        nss: normalized scanpath saliency, the mean at the users' clicks of the map with mean 0 and deviation 1; higher
            is better.
        pde: mean at the users' clicks of the map with sum 1; higher is better.
    """

    ks: float
    wd: float
    pl1: float
    nss: float
    pde: float


def score_click_map(
    click_map: np.ndarray, clicks: np.ndarray, box: tuple[int, int], *, draws: int = 100, seed: int = 42
) -> ClickModelScores:
    """Measures a click map against the clicks of users on the same object.

    Args:
        click_map: float [H,W], 0 or more.
        clicks: int [n,2] of y, x.
        box: (height, width) of the object's bounding box in pixels.
        draws: samples of n clicks that are drawn from the map for each of ks, wd and pl1.
        seed: of the samples; each of the three measures starts from it.
    """
    return ClickModelScores(
        ks=float(
            np.mean([ks_test(clicks, drawn)[0] > SIGNIFICANT for drawn in _drawn(click_map, clicks, draws, seed)])
        ),
        wd=float(
            np.mean([_wasserstein(drawn, clicks) / np.hypot(*box) for drawn in _drawn(click_map, clicks, draws, seed)])
        ),
        pl1=float(np.mean([_pairs(drawn, clicks, box) for drawn in _drawn(click_map, clicks, draws, seed)])),
        nss=nss(click_map, clicks),
        pde=pde(click_map, clicks),
    )


def _drawn(click_map: np.ndarray, clicks: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Samples of as many clicks as users made, int [draws,n,2] of y, x."""
    share = click_map / click_map.sum()
    index = np.random.RandomState(seed).choice(share.size, p=share.ravel(), size=draws * len(clicks))
    return np.stack(np.unravel_index(index, share.shape), axis=1).reshape(draws, len(clicks), 2)


def nss(click_map: np.ndarray, clicks: np.ndarray) -> float:
    """Returns the normalized scanpath saliency; arguments as of score_click_map."""
    share = click_map / (click_map.sum() + SMALL)
    height, width = share.shape
    rows, columns = clicks[:, 0].clip(0, height - 1), clicks[:, 1].clip(0, width - 1)
    return float(((share - share.mean()) / (share.std() + SMALL))[rows, columns].mean())


def pde(click_map: np.ndarray, clicks: np.ndarray) -> float:
    """Returns the mean probability of the users' clicks; arguments as of score_click_map."""
    return float((click_map / (click_map.sum() + SMALL))[clicks[:, 0], clicks[:, 1]].mean())


def _wasserstein(a: np.ndarray, b: np.ndarray) -> float:
    """Wasserstein distance of two equally large sets of points: the mean distance of the best pairs."""
    from scipy.optimize import linear_sum_assignment

    distance = np.hypot(*(a[:, None] - b[None]).transpose(2, 0, 1).astype(np.float64))
    rows, columns = linear_sum_assignment(distance)
    return float(distance[rows, columns].mean())


def _pairs(a: np.ndarray, b: np.ndarray, box: tuple[int, int]) -> float:
    return float((np.abs(a[:, None] - b[None]) / np.array(box)).sum(2).mean())


def ks_test(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The two-dimensional Kolmogorov-Smirnov test (Peacock 1983; Fasano and Franceschini 1987).

    The statistic is the largest difference of the shares of both samples in a quadrant around a point of one of them,
    in which the point itself lies where that makes the difference larger; the mean of the values for the points of
    either sample. Its probability is the approximation of Press et al. 2007, section 14.8.

    Args:
        a: [n,2] of y, x.
        b: [m,2] of y, x.

    Returns:
        The probability that the samples differ as much by chance, NaN where all points lie on one line along an axis;
        and the statistic.
    """
    from scipy.stats import kstwobign

    statistic = (_largest_difference(a, b) + _largest_difference(b, a)) / 2
    root = np.sqrt(len(a) * len(b) / (len(a) + len(b)))
    with np.errstate(invalid="ignore", divide="ignore"):
        squares = [np.corrcoef(points[:, 1], points[:, 0])[0, 1] ** 2 for points in (a, b)]
    independence = np.sqrt(1 - 0.5 * sum(squares))
    value = statistic * root / (1 + independence * (0.25 - 0.75 / root))
    return float(kstwobign.sf(value)), float(statistic)


def _largest_difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference of both samples' shares in the quadrants around the points of the first one."""
    shares = []
    for points in (a, b):
        is_left, is_above = (points[None, :, axis] <= a[:, None, axis] for axis in (1, 0))
        first, second, third = (both.mean(1) for both in (is_left & is_above, is_left & ~is_above, ~is_left & is_above))
        shares.append(np.stack([first, second, third, 1 - first - second - third], axis=1))
    difference = shares[0] - shares[1]
    difference[:, 0] -= 1 / len(a)
    return float(max(-difference.min(), difference.max() + 1 / len(a)))
