"""Which part of an image a click has changed, FocalClick, Chen et al., CVPR 2022, https://arxiv.org/abs/2204.02574.

Sections 3.2 and 3.3, and their published code. H W image; masks are bool [H,W], pixels (y, x).
"""

from typing import NamedTuple

import cv2
import numpy as np

SMALL_MASK = 10
"""Masks of fewer pixels are as good as empty: their box is the whole image."""

HALF = 128
"""Of resized masks of 0 and 255: larger values belong to the mask."""


class Span(NamedTuple):
    """First and last row, first and last column, as numbers that may be fractional."""

    top: float
    bottom: float
    left: float
    right: float


def box_of(mask: np.ndarray) -> Span:
    """Returns the box of a mask, its ends inside; (0, H, 0, W), the whole image, of a mask of less than 10 pixels."""
    if np.count_nonzero(mask) < SMALL_MASK:
        return Span(0, mask.shape[0], 0, mask.shape[1])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return Span(int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1]))


def component_at(changed: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """Finds the connected part of a mask, of 8 neighbours, that holds a pixel.

    Args:
        changed: bool [H,W].
        pixel: (y, x).

    Returns:
        bool [H,W]; of a pixel outside of the mask all pixels outside of it, connected or not, as in the published code.
    """
    labels = cv2.connectedComponents(changed.astype(np.uint8))[1]
    return labels == labels[pixel]


def focus_box(
    new: np.ndarray,
    old: np.ndarray,
    pixel: tuple[int, int],
    limits: tuple[int, int, int, int],
    *,
    expansion: float = 1.4,
    as_published: bool = False,
) -> tuple[int, int, int, int]:
    """Chooses the box in which a click's answer is refined.

    It is the part that the click has changed, where both its sides are at least a third of those of the new mask;
    else a square around the click, .4 of the mask's longer side wide; the new mask where there was none before. The box
    is expanded about its centre and cut to the limits.

    Args:
        new: mask after the click, bool [H,W].
        old: mask before it, bool [H,W].
        pixel: (y, x) of the click.
        limits: first row, row after the last, first column, column after the last of the box's place.
        expansion: factor of its sides.
        as_published: reproduces that a click on a pixel that did not change takes all unchanged pixels for the changed
            part, which mostly is the whole image. Otherwise it takes the square around the click.

    Returns:
        First row, row after the last, first column, column after the last; never empty.
    """
    y, x = pixel
    if not old.any():
        part = box_of(new)
    else:
        changed, mask = old ^ new, box_of(new)
        part = box_of(component_at(changed, pixel)) if as_published or changed[pixel] else Span(y, y, x, x)
        is_low = part.bottom - part.top < (mask.bottom - mask.top) / 3
        if is_low or part.right - part.left < (mask.right - mask.left) / 3:
            half = 0.2 * max(mask.bottom - mask.top, mask.right - mask.left)
            part = Span(y - half, y + half, x - half, x + half)
    height, width = new.shape
    rows = _expanded(part.top, part.bottom, height, (limits[0], limits[1]), expansion)
    columns = _expanded(part.left, part.right, width, (limits[2], limits[3]), expansion)
    if rows[0] >= rows[1] or columns[0] >= columns[1]:
        return limits  # a click beside the limits, where the published code fails
    return (*rows, *columns)


def _expanded(low: float, high: float, length: int, limits: tuple[int, int], factor: float) -> tuple[int, int]:
    """Ends of an interval that grows about its middle, cut to the image and the limits."""
    centre, half = 0.5 * (low + high), 0.5 * factor * (high - low + 1)
    return max(0, int(centre - half), limits[0]), min(length, int(centre + half), limits[1])


def lost_at_low_resolution(mask: np.ndarray, factor: int = 8) -> np.ndarray:
    """Finds the pixels near a mask's boundary, which a coarse prediction cannot get right.

    Those that differ after the mask is reduced by `factor` and enlarged again, both linearly with a threshold of one
    half, widened by two pixels.

    Args:
        mask: bool [H,W].
        factor: of the resolution.

    Returns:
        bool [H,W].
    """
    height, width = mask.shape
    full = mask.astype(np.uint8) * 255
    small = cv2.resize(full, (max(1, width // factor), max(1, height // factor)), interpolation=cv2.INTER_LINEAR)
    small = (small > HALF).astype(np.uint8) * 255
    back = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    lost = ((back > HALF) != mask).astype(np.uint8)
    return cv2.dilate(lost, np.ones((3, 3), np.uint8), iterations=2) > 0
