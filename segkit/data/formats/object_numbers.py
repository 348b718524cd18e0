"""Masks that number the objects of one class, 1 to n in each image, as instance maps of cells or pedestrians do.

H W image.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from segkit.data.formats.base import Shape
from segkit.data.formats.bitmaps import code_of
from segkit.types import IGNORE

OBJECT = "object"
"""Name of the one class."""

LEAST_MASKS, LEAST_COUNTS = 8, 3
"""Masks with objects, and different numbers of objects in them, below which classes are as likely."""

MOST_LOOKED_AT = 20
"""Masks, and objects of each, whose regions are looked at."""

MAIN_PART, WHOLE_SHARE = 0.9, 0.95
"""Share of its pixels that the largest region of an object holds, in so many of the objects: few are cut in two."""


def are_object_numbers(masks: Sequence[Path], read: Callable[[Path], np.ndarray]) -> bool:
    """Tells whether numbers are those of objects, not of classes.

    They are where every mask has the numbers from 1 to some n without a gap, n differs from mask to mask, and a number
    is one region. A class would be missing in some image that holds a class of a higher number, or be in many places.

    Args:
        masks: their files.
        read: gives the numbers of a file, integers [H,W].
    """
    counts = []
    for path in masks:
        values = values_of(read(path))
        if values.size and values[-1] != values.size:
            return False
        counts.append(int(values.size))
    if sum(count > 0 for count in counts) < LEAST_MASKS or len({*counts} - {0}) < LEAST_COUNTS:
        return False
    is_whole = []
    for path, count in list(zip(masks, counts))[:: max(1, len(masks) // MOST_LOOKED_AT)]:
        numbers = read(path)
        for value in range(1, min(count, MOST_LOOKED_AT) + 1):
            areas = cv2.connectedComponentsWithStats((numbers == value).astype(np.uint8))[2][1:, cv2.CC_STAT_AREA]
            is_whole.append(areas.max() >= MAIN_PART * areas.sum())
    return float(np.mean(is_whole)) >= WHOLE_SHARE


def values_of(numbers: np.ndarray) -> np.ndarray:
    """Returns the numbers of a mask's objects, rising; neither 0 nor, in a mask of at most 255, 255: to be ignored."""
    values = np.unique(numbers)
    return values[(values > 0) & ((values != IGNORE) | (values[-1] > IGNORE))]


def shapes_of(numbers: np.ndarray) -> tuple[Shape, ...]:
    """Returns each object of a mask, and what is to be ignored as a crowd of no class.

    Args:
        numbers: integers [H,W].
    """
    values = values_of(numbers)
    shapes = [Shape(OBJECT, mask=code_of(numbers == value)) for value in values]
    is_ignored = numbers == IGNORE if IGNORE not in values else np.zeros(numbers.shape, bool)
    if is_ignored.any():
        shapes.append(Shape("", mask=code_of(is_ignored), crowd=True))
    return tuple(shapes)
