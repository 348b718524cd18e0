"""The learning rate range test: steps at a rising rate show where the loss falls, and where it bursts.

Smith, Cyclical Learning Rates for Training Neural Networks, WACV 2017, https://arxiv.org/abs/1506.01186, section 3.3.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from segkit.registry import ConfigError

SMOOTHING = 5
"""Steps over which losses are averaged, since batches differ."""

BURST = 4.0
"""Times the lowest loss so far at which the test ends."""

BELOW = 4.0
"""The rate that is taken lies so many times below the one of the lowest loss, which is close to bursting."""

LEAST_STEPS = 10
"""Steps that a test has at least before it may end early."""


class RangeTest(NamedTuple):
    """The course of a range test.

    Attributes:
        rates: of each step.
        losses: of each step, smoothed.
        best: the rate to train with, of two digits.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    best: float


def range_test(step: Callable[[float], float], low: float, high: float, steps: int) -> RangeTest:
    """Raises the learning rate from step to step, and finds the one to train with.

    Args:
        step: trains one step at a rate and returns the loss before it.
        low, high: the first and the last rate; between them it is multiplied by the same factor each step.
        steps: at most; the test ends where the loss has become 4 times the lowest, or is not finite.

    Returns:
        The course. Its best rate is a quarter of the one of the lowest smoothed loss: on a parabola of curvature c,
        where gradient descent bursts from 2 / c on, half of the best rate 1 / c.

    Raises:
        ConfigError: the loss bursts at the lowest rate already.
    """
    rates: list[float] = []
    losses: list[float] = []
    for number in range(steps):
        rate = low * (high / low) ** (number / (steps - 1))
        loss = step(rate)
        if not math.isfinite(loss):
            break
        rates.append(rate)
        losses.append(loss)
        if number >= LEAST_STEPS and loss > BURST * min(smoothed(losses)):
            break
    if len(losses) < LEAST_STEPS:
        raise ConfigError(
            f"--find-lr: the loss is not finite at a rate of {rates[-1] if rates else low:.2g} already; check the "
            "values of the images with segkit analyze values, or leave --find-lr out"
        )
    means = smoothed(losses)
    best = rates[int(np.argmin(means))] / BELOW
    return RangeTest(tuple(rates), tuple(means), float(f"{best:.2g}"))


def smoothed(values: list[float]) -> list[float]:
    """Returns the means over windows of 5 around each value, shorter ones at the ends."""
    half = SMOOTHING // 2
    return [float(np.mean(values[max(i - half, 0) : i + half + 1])) for i in range(len(values))]
