"""The operations that photometric transforms are made of.

Values are 0..255, uint8 or float32, and keep their dtype. uint8 images go through tables of 256 values and, where hue
or saturation change, strip by strip through float32 HSV, so that one operation rounds once.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from segkit.data.transforms.base import ImageFacts, Transform
from segkit.data.transforms.geometry import valid_size, within
from segkit.registry import ConfigError
from segkit.types import Sample

Law: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""Maps values, float [...] in 0..255, one by one to values of any size."""

STRIP = 32
"""Rows per strip: float buffers of a strip stay in the cache, those of a whole image do not (1.2 against 4 ms)."""


class ColorTransform(Transform):
    """Base of the transforms that change values of 0..255, uint8 or float32, and move nothing.

    Attributes:
        needs_rgb: whether it works on R, G and B together; others treat every channel alike, however many there are.
        needs_uint8: whether it takes whole levels alone.
        way_out: what to do about images that it cannot take.
    """

    needs_rgb: bool = False
    needs_uint8: bool = False
    way_out: str = "leave the transform out"

    def check(self, images: ImageFacts) -> None:
        name = type(self).__name__
        if self.needs_rgb:
            need_rgb(images.channels, name, self.way_out)
        if self.needs_uint8 and not images.is_uint8:
            raise ConfigError(f"{name} needs uint8 images, these are float32; {self.way_out}")
        check_range(images, name)


SLACK = 0.5
"""By how much values may lie beyond 0..255, for rounding and interpolation."""


def check_range(images: ImageFacts, name: str) -> None:
    """Checks that values lie in 0..255 and use that range.

    Args:
        images: what the training set holds.
        name: of the transform, for the error.

    Raises:
        ConfigError: they do not: the transform would clip them, or change all of them by more than their whole range.
    """
    low, high = images.low, images.high
    if images.is_uint8:
        return
    remedy = "('p1', 'p99')" if not (0 <= low < high <= 1) else "(0, 1)"
    if low < -SLACK or high > 255 + SLACK or (low >= 0 and 0 < high <= 1):
        raise ConfigError(
            f"{name} works on values of 0 to 255, and these images hold {low:g} to {high:g}; set scale={remedy} in the "
            "data set, or leave the transform out"
        )


def recolor(transform: Transform, sample: Sample, function: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """Changes the valid part of the image.

    Args:
        transform: for the error.
        sample: it stays as it is.
        function: takes [h,w,C] and returns the same shape and dtype, not in place.

    Returns:
        A new sample.

    Raises:
        ConfigError: the image is neither uint8 nor floating-point, or its values lie beyond 0..255.
    """
    image, name = sample["image"], type(transform).__name__
    if image.dtype != np.uint8:
        if image.dtype.kind != "f":
            raise ConfigError(f"{name} needs uint8 or float32 images, this one is {image.dtype}; convert it to float32")
        low, high = float(image.min()), float(image.max())
        if low < -SLACK or high > 255 + SLACK:
            check_range(ImageFacts(image.shape[2], False, low, high), name)
    changed = Sample(**sample)
    changed["image"] = within(valid_size(sample), function, sample["image"])
    return changed


def need_rgb(channels: int, name: str, way_out: str) -> None:
    """Checks that an image has 3 channels.

    Args:
        channels: of the image.
        name: of the transform, for the error.
        way_out: the end of the error's sentence.

    Raises:
        ConfigError: for another number of channels.
    """
    if channels != 3:
        raise ConfigError(f"{name} needs RGB images of 3 channels, this one has {channels}; {way_out}")


def look_up(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replaces values by a table.

    Args:
        image: uint8 [H,W,C].
        table: [256] of any dtype.

    Returns:
        [H,W,C] of the table's dtype.
    """
    if image.shape[2] in (3, 4):
        return cv2.LUT(image, table)
    return cv2.LUT(image.reshape(image.shape[0], -1), table).reshape(image.shape)


def map_values(image: np.ndarray, law: Law) -> np.ndarray:
    """Maps all values of an image alike, clipped to 0..255.

    Args:
        image: uint8 or float32 [H,W,C].
        law: the mapping; for uint8 images it becomes a table, rounded to nearest.

    Returns:
        The same shape and dtype.
    """
    if image.dtype != np.uint8:
        return np.clip(law(image), 0, 255).astype(image.dtype)
    table = np.clip(np.rint(law(np.arange(256, dtype=np.float64))), 0, 255).astype(np.uint8)
    return look_up(image, table)


def turn_colors(image: np.ndarray, before: Law, saturation: float, degrees: float, gain: float) -> np.ndarray:
    """Changes saturation and hue, between a mapping of the values and a gain.

    HSV's value is the largest of R, G, B; saturation and hue leave it, so the gain acts on it.

    Args:
        image: uint8 or float32 [H,W,3] RGB.
        before: mapping of the values, applied first; its results are clipped to 0..255.
        saturation: factor of HSV's saturation, which is clipped to 1.
        degrees: by which the hue is turned.
        gain: factor of all values, applied last.

    Returns:
        The same shape and dtype.
    """
    height, width = image.shape[:2]
    table = np.clip(before(np.arange(256, dtype=np.float64)), 0, 255).astype(np.float32) / np.float32(255)
    change = np.diag([1.0, saturation, gain]).astype(np.float32)
    change = np.concatenate([change, np.array([[degrees % 360], [0], [0]], np.float32)], axis=1)
    result = np.empty(image.shape, image.dtype)
    buffers = np.empty((2, min(STRIP, height), width, 3), np.float32)
    # Saturation ends at 1, hue and value are free: OpenCV takes hues beyond 360 degrees. A map, since OpenCV may take
    # four numbers for a matrix where the image is as small.
    most = np.empty_like(buffers[0]) if saturation > 1 else None
    if most is not None:
        most[:] = (np.inf, 1, np.inf)
    for start in range(0, height, STRIP):
        rows = image[start : start + STRIP]
        first, second = buffers[:, : len(rows)]
        if rows.dtype == np.uint8:
            cv2.LUT(rows, table, dst=first)
        else:
            np.divide(np.clip(before(rows), 0, 255), 255, out=first)
        cv2.cvtColor(first, cv2.COLOR_RGB2HSV, dst=second)
        cv2.transform(second, change, dst=first)
        if most is not None:
            cv2.min(first, most[: len(rows)], dst=first)
        cv2.cvtColor(first, cv2.COLOR_HSV2RGB, dst=second)
        if rows.dtype == np.uint8:
            cv2.convertScaleAbs(second, dst=result[start : start + STRIP], alpha=255)
        else:
            np.clip(second * np.float32(255), 0, 255, out=result[start : start + STRIP])
    return result


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns an image after JPEG compression.

    Args:
        image: uint8 [H,W,3] RGB.
        quality: 1..100.
    """
    is_written, code = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert is_written, f"JPEG encoder failed on {image.shape}"
    decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
    assert decoded is not None, f"JPEG decoder failed on {image.shape}"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
