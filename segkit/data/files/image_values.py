"""The values of images against what a model expects: black, too small, too large, or nearly constant."""

from collections.abc import Sequence

import numpy as np

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and standard deviation of most encoders, in 0..255."""

NARROW, WIDE = 0.6, 10.0
"""In standard deviations: a narrower range of all values is nearly one color, and a value farther away no color."""

FAR, FLAT, SPREAD = 5.0, 0.1, 5.0
"""After normalization: a mean farther from 0, and standard deviations below and above which a model learns little."""

MOST_SAMPLED = 1 << 16
"""Pixels of an image, at most, that its mean and standard deviation are taken of."""


class ImageValues:
    """Range, mean and standard deviation of the images of a data set, per channel.

    Attributes:
        channels: of the first image, 0 before it.
        is_uint8: whether all images are.
        black: files of images whose every value is 0.
        plain: files of the other images that are of one color.
    """

    def __init__(self) -> None:
        self.channels = 0
        self.is_uint8 = True
        self.black: list[str] = []
        self.plain: list[str] = []
        self._ranges: list[tuple[np.ndarray, np.ndarray]] = []
        self._moments: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, image: np.ndarray, path: str = "") -> None:
        """Takes in an image [H,W,C]; images of another number of channels than the first are passed over."""
        self.channels = self.channels or image.shape[2]
        if not image.size or self.channels != image.shape[2]:
            return
        self.is_uint8 = self.is_uint8 and image.dtype == np.uint8
        low, high = image.min(axis=(0, 1)).astype(np.float64), image.max(axis=(0, 1)).astype(np.float64)
        if (low == high).all() and image.shape[0] * image.shape[1] > 1:
            (self.plain if low.any() else self.black).append(path)
        self._ranges.append((low, high))
        step = max(1, int((image.shape[0] * image.shape[1] / MOST_SAMPLED) ** 0.5))
        pixels = image[::step, ::step].astype(np.float64)
        self._moments.append((pixels.mean(axis=(0, 1)), (pixels**2).mean(axis=(0, 1))))

    def __len__(self) -> int:
        return len(self._ranges)

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value of all channels."""
        low, high = self._ends()
        return float(low.min()), float(high.max())

    def misfit(self, mean: Sequence[float] | float | None = None, std: Sequence[float] | float | None = None) -> str:
        """Compares the values with a model's normalization.

        Args:
            mean, std: of the model, per channel or for all; None for those of most encoders.

        Returns:
            What is wrong; "" where nothing is.
        """
        if not self._ranges:
            return ""
        low, high = self._ends()
        means, spreads = self._mean_and_std()
        center = _per_channel(IMAGENET[0] if mean is None else mean, len(low))
        scale = np.maximum(_per_channel(IMAGENET[1] if std is None else std, len(low)), 1e-12)
        varies = bool((high > low).any())
        is_narrow = float(((high - low) / scale).max()) < NARROW and varies
        is_wide = float((np.maximum(abs(low - center), abs(high - center)) / scale).max()) > WIDE
        offset, spread = abs(means - center) / scale, spreads / scale
        is_far = float(offset.max()) > FAR or (varies and not FLAT <= float(spread.max()) <= SPREAD)
        if not is_narrow and not is_wide and not is_far:
            return ""
        expected = "about 0..255" if mean is None else f"a mean of {_numbers(center)}"
        normalized = _numbers((means - center) / scale), _numbers(spread)
        return (
            f"images hold values of {low.min():g} to {high.max():g}, where the model expects {expected}"
            f"{', so that it would see nearly one color' if is_narrow else ''} (after its normalization their mean is "
            f"{normalized[0]} and their standard deviation {normalized[1]})"
        )

    def remedy(self, keys: str = "") -> str:
        """Returns which keys to set.

        Args:
            keys: of the data set, with values, that its files are known to need; "" where nothing is known.
        """
        low, high = self.range
        means, spreads = self._mean_and_std()
        own = (
            f"model.backbone.mean={_numbers(means)} and std={_numbers(np.maximum(spreads, 1e-6))}, which are the data's"
        )
        if keys:
            return f"set {keys} in the data set, or {own}"
        is_marked = low < 0 or high > 3e4
        marker = f"if {_marker(low, high):g} marks pixels without data, set nodata to it; else " if is_marked else ""
        return f"{marker}set {own}, or scale=(low, high) in the data set, which brings values to 0..255"

    def _ends(self) -> tuple[np.ndarray, np.ndarray]:
        return np.min([low for low, _ in self._ranges], 0), np.max([high for _, high in self._ranges], 0)

    def _mean_and_std(self) -> tuple[np.ndarray, np.ndarray]:
        means = np.mean([moment for moment, _ in self._moments], 0)
        return means, np.sqrt(np.maximum(np.mean([square for _, square in self._moments], 0) - means**2, 0))


def _marker(low: float, high: float) -> float:
    return low if low < 0 else high


def _per_channel(value: Sequence[float] | float, channels: int) -> np.ndarray:
    """One value for each channel; means of 3 channels stand in turn for those of more, as the encoders have it."""
    values = np.atleast_1d(np.asarray(value, np.float64))
    return np.resize(values, channels)


def _numbers(values: np.ndarray) -> str:
    shown = [f"{value:.4g}" for value in values]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"
