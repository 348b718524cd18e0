"""The key `scale`: stored values of any range become 0..255, the range that the models' means are in.

Percentiles are those of each channel of each image: a file then means the same to training and to prediction, however
it was exposed, and a new one needs no statistics of the others (Cellpose and CSBDeep read microscopy so). A range for
the whole data set, where the height of the values says something (reflectance, Hounsfield units), is two numbers;
`segkit analyze values` proposes them.
"""

from typing import NamedTuple

import numpy as np

from segkit.data.dataset import Bound, ScaleRange, percent_of
from segkit.files import DataError

MOST_SAMPLED = 1 << 20
"""Pixels of an image that percentiles are taken of, at most, evenly spread."""


class Ends(NamedTuple):
    """The values of each channel that become 0 and 255, float64 [C]."""

    low: np.ndarray
    high: np.ndarray


def ends_of(image: np.ndarray, scale: tuple[Bound, Bound], source: str) -> Ends:
    """Returns the ends of the range of values of each channel.

    Args:
        image: [H,W,C]; percentiles are of its finite values. Of an image that is read by windows, a smaller copy does.
        scale: of check_scale.
        source: the image's file, for the error.

    Raises:
        DataError: an end holds numbers, but not one for each channel.
    """
    channels = image.shape[2]
    low, high = (_end(image, bound, channels, source) for bound in scale)
    return Ends(low, high)


def _end(image: np.ndarray, bound: Bound, channels: int, source: str) -> np.ndarray:
    if isinstance(bound, str):
        step = max(1, int((image.shape[0] * image.shape[1] / MOST_SAMPLED) ** 0.5))
        sample = image[::step, ::step]
        ends = np.zeros(channels)
        for channel in range(channels):
            values = sample[:, :, channel]
            values = values[np.isfinite(values)] if values.dtype.kind == "f" else values
            if values.size:
                ends[channel] = np.percentile(values, percent_of(bound))
        return ends
    numbers = np.atleast_1d(np.asarray(bound, np.float64))
    if len(numbers) not in (1, channels):
        raise DataError(f"{source}: scale has {len(numbers)} numbers for {channels} channels; give one each")
    return np.broadcast_to(numbers, channels)


def in_range(image: np.ndarray, ends: Ends) -> np.ndarray:
    """Maps values linearly so that the ends become 0 and 255, and clips what lies beyond.

    Args:
        image: [H,W,C] of any type of number.
        ends: of ends_of. A channel whose ends are equal becomes 0.

    Returns:
        float32 [H,W,C]; NaN and infinity become NaN.
    """
    width = ends.high - ends.low
    factor = np.where(width > 0, 255 / np.where(width > 0, width, 1), 0).astype(np.float32)
    values = image.astype(np.float32)
    is_missing = ~np.isfinite(values)
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.clip((values - ends.low.astype(np.float32)) * factor, 0, 255)
    values[is_missing] = np.nan
    return values


def with_scale(image: np.ndarray, scale: ScaleRange, source: str) -> np.ndarray:
    """Brings the values of an image to 0..255 where `scale` says how; see ends_of and in_range."""
    return image if scale is None else in_range(image, ends_of(image, scale, source))


def with_bands(image: np.ndarray, bands: tuple[int, ...] | None, source: str) -> np.ndarray:
    """Returns the channels of an image that `bands` names, counted from 1.

    Raises:
        DataError: the image has fewer.
    """
    if bands is None:
        return image
    if max(bands) > image.shape[2]:
        raise DataError(
            f"{source}: bands={list(bands)} for a file of {image.shape[2]} bands, which count from 1; name others, or "
            "leave the file out"
        )
    return image[:, :, [band - 1 for band in bands]]
