"""The range test where the best rate is known: gradient descent on parabolas."""

import numpy as np
import pytest

from segkit.recipe.range_test import range_test, smoothed
from segkit.registry import ConfigError


class Parabola:
    """Gradient descent on curvature x^2 / 2: its fastest rate is 1 / curvature, and it bursts from 2 / curvature on."""

    def __init__(self, curvature: float, noise: float = 0.0):
        self.curvature, self.noise, self.x = curvature, noise, 1.0
        self.rng = np.random.default_rng(0)

    def step(self, rate: float) -> float:
        loss = 0.5 * self.curvature * self.x**2
        self.x -= rate * self.curvature * self.x
        return loss + self.noise * self.rng.random()


@pytest.mark.parametrize("curvature", [0.01, 1.0, 300.0])
def test_the_best_rate_of_a_parabola(curvature):
    """The lowest loss lies where it begins to burst, 2 / c; a quarter of that is half of the best rate."""
    found = range_test(Parabola(curvature).step, 1e-3 / curvature, 1e3 / curvature, 100)
    assert 0.3 / curvature < found.best < 0.8 / curvature
    assert max(found.rates) < 100 / curvature  # it ends soon after the burst


@pytest.mark.parametrize("noise", [1e-4, 0.01, 0.1])
def test_noise_never_leads_to_a_rate_that_bursts(noise):
    found = range_test(Parabola(1.0, noise).step, 1e-3, 1e3, 100)
    assert 0.05 < found.best < 2.0


def test_rates_rise_by_one_factor_and_have_two_digits():
    found = range_test(lambda rate: abs(np.log10(rate) + 2), 1e-4, 1.0, 41)  # lowest at 1e-2
    assert found.rates[0] == 1e-4 and found.rates[10] == pytest.approx(1e-3) and found.rates[20] == pytest.approx(1e-2)
    assert found.best == 0.0025


def test_a_loss_that_is_never_finite_is_refused():
    with pytest.raises(ConfigError, match=r"--find-lr: the loss is not finite at a rate of 0\.0001 already; check"):
        range_test(lambda rate: float("nan"), 1e-4, 1.0, 41)


def test_smoothing_by_hand():
    assert smoothed([1, 2, 3, 4, 5, 6]) == [2.0, 2.5, 3.0, 4.0, 4.5, 5.0]
