"""Checks of segmentations in COCO's format: polygons and run-length codes have the shape that they must have.

Format: https://cocodataset.org/#format-data
"""

import math
from itertools import pairwise
from numbers import Real
from typing import Any

import numpy as np

from segkit.files import brief, shortened

LONGEST_OUTLINE = 10_000_000
"""Pixels of all outlines of an object at most; drawing takes memory for each."""


FARTHEST_CORNER = 10 * LONGEST_OUTLINE
"""Largest coordinate of a corner in pixels."""

CORNERS = 3
"""Least corners of a polygon; what has less covers nothing, and pycocotools takes two of them for a box."""


def check_segmentation(segmentation: Any, height: int, width: int) -> None:
    """Checks that a segmentation has the shape it must have, so that drawing it gives the annotated pixels.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...], or run-length code, dict(size=[H, W], counts). An empty list
            is an object of no pixel.
        height: H of the image in pixels.
        width: W of the image in pixels.

    Raises:
        ValueError: says what is wrong: the coordinates of a polygon are odd in number, no finite numbers, of fewer than
            three corners or far outside; a run-length code is of another size than the image, or does not fill it.
    """
    if isinstance(segmentation, list):
        _check_polygons(segmentation)
    elif isinstance(segmentation, dict):
        _check_code(segmentation, height, width)
    else:
        raise ValueError(f"{brief(segmentation)} is neither polygons nor RLE")


def _check_polygons(polygons: list) -> None:
    most = 0.0
    for polygon in polygons:
        if type(polygon) is not list or not _are_numbers(set(map(type, polygon))):
            raise ValueError(f"{brief(polygon)} is no polygon [x, y, x, y, ...] of numbers")
        if len(polygon) % 2:
            raise ValueError(f"a polygon has {len(polygon)} coordinates, an odd number")
        if len(polygon) < 2 * CORNERS:
            count = len(polygon) // 2
            raise ValueError(f"a polygon has {count} corner{'' if count == 1 else 's'}, fewer than {CORNERS}")
        if not math.isfinite(sum(polygon)):
            raise ValueError("a corner is not finite")
        low, high = min(polygon), max(polygon)
        if max(high, -low) > FARTHEST_CORNER:
            raise ValueError("its corners lie far outside of the image")
        most += len(polygon) * (high - low)
    # hardly any outlines are long enough to be measured
    if most > LONGEST_OUTLINE and sum(map(_length, polygons)) > LONGEST_OUTLINE:
        raise ValueError("its corners lie far outside of the image")


def _are_numbers(kinds: set[type]) -> bool:
    return kinds <= {int, float} or all(issubclass(kind, Real) for kind in kinds)


def _length(polygon: list) -> float:
    """Length of an outline in steps along the two axes."""
    return sum(abs(a - b) for line in (polygon[::2], polygon[1::2]) for a, b in pairwise(line))


def _check_code(code: dict, height: int, width: int) -> None:
    size, counts = code["size"], code["counts"]
    if not isinstance(size, list | tuple) or [*size] != [height, width]:
        size = [whole_number(side, "size") for side in size]
        if len(size) != 2:
            raise ValueError(f"its run-length code has the size {shortened(size, 50)}")
        if size != [height, width]:
            raise ValueError(f"a mask of {size[1]}x{size[0]} pixels for an image of {width}x{height}")
    if isinstance(counts, str | bytes):
        counts = run_lengths_of(counts)
    elif not isinstance(counts, list) or not set(map(type, counts)) <= {int}:
        raise ValueError(f"its run lengths {brief(counts)} are no list of whole numbers")
    if min(counts, default=0) < 0 or sum(counts) != height * width:
        raise ValueError(f"its run lengths add up to {sum(counts)}, not to the {height * width} pixels of its size")


def run_lengths_of(counts: str | bytes) -> list[int]:
    """Returns the run lengths of a compressed code, groups of 5 bits from low to high; see encode_mask."""
    digits = np.frombuffer(counts.encode() if isinstance(counts, str) else counts, np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero((digits & 32) == 0)
    if not len(digits) or digits.min() < 0 or digits.max() > 63 or not len(ends) or ends[-1] != len(digits) - 1:
        raise ValueError("its run-length code is damaged")
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > 7:
        raise ValueError("its run-length code is damaged")
    places = np.arange(len(digits)) - np.repeat(starts, sizes)
    runs = np.add.reduceat((digits & 31) << 5 * places, starts)
    runs -= np.where(digits[ends] & 16, 1 << 5 * sizes, 0)
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs.tolist()


def whole_number(value: Any, name: str) -> int:
    """Returns the whole number that a value is, also as text or as a float.

    Args:
        value: read from a file.
        name: what it is, for the error.

    Raises:
        ValueError, TypeError: it is none.
    """
    number = int(value)
    if isinstance(value, float) and number != value:
        raise ValueError(f"{name} = {brief(value)} is no whole number")
    return number


def reason(error: Exception) -> str:
    """Returns what an error of a check says, for a message."""
    return f"{error} is missing" if isinstance(error, KeyError) else shortened(error, 200)
