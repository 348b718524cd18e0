"""Clicks as users make them: drawn from a band of a click map's mass.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 5. H W image.
"""

from collections.abc import Callable

import numpy as np

from segkit.registry import ConfigError
from segkit.runners.interactive.clicker import Click, Error, find_error

BANDS = tuple((group / 10, (group + 1) / 10) for group in range(10))
"""The ten groups of clicks, from the least likely clicks (G1) to the most likely ones (G10)."""


def band_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Keeps the values of a click map between two shares of its mass, sorted from the smallest value on.

    Both ends belong to the band, and with them all values that equal one of them.

    Args:
        values: float32 [H,W], 0 or more.
        low, high: shares in 0..1.

    Returns:
        float32 [H,W], 0 outside of the band.
    """
    line = np.sort(values, axis=None)
    mass, total = line.cumsum(), line.sum()
    first = min(int(mass.searchsorted(total * low, "left")), line.size - 1)
    last = min(int(mass.searchsorted(total * high, "right")), line.size - 1)
    return values * (values >= line[first]) * (values <= line[last])


def draw(values: np.ndarray, rng: np.random.RandomState) -> tuple[int, int]:
    """Draws a pixel in proportion to the values, float [H,W], of which one at least is above 0."""
    share = values / values.sum()
    y, x = np.unravel_index(rng.choice(share.size, p=share.ravel()), share.shape)
    return int(y), int(x)


class BandClicker:
    """Draws clicks from a band of the mass of a click map, within the deeper error.

    A map without any mass in that region, or in the band, leaves the choice to the deepest pixel.

    Args:
        low, high: ends of the band, shares of the map's mass in 0..1.

    Raises:
        ConfigError: the band is empty, or not within 0..1.
    """

    def __init__(self, low: float = 0.0, high: float = 1.0):
        if not 0 <= low < high <= 1:
            raise ConfigError(
                f"inference.clicks.band = {(low, high)}: must be two shares of 0 to 1, the lower one first, such as "
                "(.9, 1) for the tenth of the most likely clicks"
            )
        self.low, self.high = low, high

    def values_in(self, error: Error) -> np.ndarray:
        """Returns the click map of an error, float32 [H,W], 0 or more; values outside of its region do not count."""
        raise NotImplementedError(f"{type(self).__name__} gives no values_in()")

    def __call__(
        self, prediction: np.ndarray, target: np.ndarray, not_clicked: np.ndarray, rng: np.random.RandomState
    ) -> Click:
        """As Clicker."""
        error = find_error(prediction, target, not_clicked)
        values = self.values_in(error) * error.region.astype(np.float32) * not_clicked
        kept = band_of(values.astype(np.float32, copy=False), self.low, self.high)
        if not kept.sum() > 0:
            return error.deepest
        return Click(*draw(kept, rng), error.is_positive)


class MapClicker(BandClicker):
    """Draws clicks from a given map of how likely each pixel is clicked.

    Args:
        click_map: float [H,W], 0 or more, for all errors of the object; or a function that makes it of an error's
            region, bool [H,W], as a clickability network does.
        low, high: as of BandClicker.
    """

    def __init__(self, click_map: np.ndarray | Callable[[np.ndarray], np.ndarray], low: float = 0.0, high: float = 1.0):
        super().__init__(low, high)
        self.click_map = click_map

    def values_in(self, error: Error) -> np.ndarray:
        """See BandClicker.values_in."""
        made = self.click_map if isinstance(self.click_map, np.ndarray) else self.click_map(error.region)
        return made.astype(np.float32, copy=False)


class DistanceClicker(BandClicker):
    """Draws clicks in proportion to their distance from the border of the error, which needs no click map.

    Args:
        low, high: as of BandClicker.
    """

    def values_in(self, error: Error) -> np.ndarray:
        """See BandClicker.values_in."""
        return np.sqrt(error.depth, dtype=np.float32)
