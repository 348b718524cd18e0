"""The values of images against what a model expects: too small, too large, or nearly constant after normalization."""

from collections.abc import Sequence

import numpy as np

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and standard deviation of most encoders, in 0..255."""

NARROW, WIDE = 0.6, 10.0
"""In standard deviations: a narrower range of all values is nearly one color, and a value farther away no color."""

MOST_SAMPLED = 1 << 16
"""Pixels of an image, at most, that its mean and standard deviation are taken of."""


class ImageValues:
    """Range, mean and standard deviation of the images of a data set, per channel."""

    def __init__(self) -> None:
        self._ranges: list[tuple[np.ndarray, np.ndarray]] = []
        self._moments: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, image: np.ndarray) -> None:
        """Takes in an image [H,W,C]; images of another number of channels than the first are passed over."""
        if not image.size or (self._ranges and len(self._ranges[0][0]) != image.shape[2]):
            return
        self._ranges.append((image.min(axis=(0, 1)).astype(np.float64), image.max(axis=(0, 1)).astype(np.float64)))
        step = max(1, int((image.shape[0] * image.shape[1] / MOST_SAMPLED) ** 0.5))
        pixels = image[::step, ::step].astype(np.float64)
        self._moments.append((pixels.mean(axis=(0, 1)), (pixels**2).mean(axis=(0, 1))))

    def warning(self, mean: Sequence[float] | float | None = None, std: Sequence[float] | float | None = None) -> str:
        """Compares the values with a model's normalization.

        Args:
            mean, std: of the model, per channel or for all; None for those of most encoders.

        Returns:
            What is wrong, and which keys to set; "" where nothing is.
        """
        if not self._ranges:
            return ""
        low, high = np.min([low for low, _ in self._ranges], 0), np.max([high for _, high in self._ranges], 0)
        means = np.mean([moment for moment, _ in self._moments], 0)
        spreads = np.sqrt(np.maximum(np.mean([square for _, square in self._moments], 0) - means**2, 0))
        center = _per_channel(IMAGENET[0] if mean is None else mean, len(low))
        scale = np.maximum(_per_channel(IMAGENET[1] if std is None else std, len(low)), 1e-12)
        is_narrow = float(((high - low) / scale).max()) < NARROW and bool((high > low).any())
        is_wide = float((np.maximum(abs(low - center), abs(high - center)) / scale).max()) > WIDE
        if not is_narrow and not is_wide:
            return ""
        expected = "about 0..255" if mean is None else f"a mean of {_numbers(center)}"
        text = (
            f"images hold values of {low.min():g} to {high.max():g}, where the model expects {expected}"
            f"{', so that it would see nearly one color' if is_narrow else ''}: "
        )
        if is_wide and (low.min() < 0 or high.max() > 3e4):
            text += f"if {_marker(low.min(), high.max()):g} marks pixels without data, set nodata to it; else "
        remedy = f"set model.backbone.mean={_numbers(means)} and std={_numbers(np.maximum(spreads, 1e-6))}"
        return text + remedy + ", which are the data's, or scale the files to 0..255"


def _marker(low: float, high: float) -> float:
    return low if low < 0 else high


def _per_channel(value: Sequence[float] | float, channels: int) -> np.ndarray:
    """One value for each channel; means of 3 channels stand in turn for those of more, as the encoders have it."""
    values = np.atleast_1d(np.asarray(value, np.float64))
    return np.resize(values, channels)


def _numbers(values: np.ndarray) -> str:
    shown = [f"{value:.4g}" for value in values]
    return f"({', '.join(shown)}{',' if len(shown) == 1 else ''})"
