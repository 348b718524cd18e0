"""Outlines and textures that the embedded data set is painted with, as formulas over pixel grids.

Legend: H W image; v u coordinates of pixel centres in the object's own rotated frame, float32 [H,W] in pixels, made by
`turned`. Outlines take v, u and a radius in pixels, textures a period; `Outline` and `Texture` say what they return.
"""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

Outline = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""Maps (v, u, radius) to the distance to the border in pixels, float32 [H,W], negative inside; exact near straight
borders."""

Texture = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""Maps (v, u, period) to float32 [H,W] in [-1,1], whose sign picks one of two colors."""


def turned(
    height: int, width: int, center: Sequence[float] | np.ndarray, angle: float
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the coordinates of all pixel centres in a frame about a point.

    Args:
        height: H.
        width: W.
        center: (y, x) of the frame's origin in pixels.
        angle: by which the frame is rotated, in radians.

    Returns:
        v and u, float32 [H,W] in pixels.
    """
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - center[0])
    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5 - center[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * y - sin * x, sin * y + cos * x


def disk(v: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """Outline of a circle."""
    return cv2.magnitude(v, u) - np.float32(radius)


def square(v: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """Outline of a square of the disk's area, with half side radius * sqrt(pi) / 2.

    Equal areas, so that size tells nothing about the class.
    """
    return np.maximum(np.abs(v), np.abs(u)) - np.float32(radius * np.sqrt(np.pi) / 2)


def _tips(v: np.ndarray, u: np.ndarray, radius: float, tips: int, waist: float) -> np.ndarray:
    """Outline of a star of the disk's area with `tips` tips; its inner corners lie at `waist` of the tips' radius.

    All half tips are the same triangle, so the angle is folded to [0, pi/tips] and one straight edge is measured.
    """
    fold = np.pi / tips
    # a half tip is a triangle with sides tip and waist * tip at the angle `fold`; there are 2 * tips of them
    tip = radius * np.sqrt(np.pi / (tips * waist * np.sin(fold)))
    length, angle = cv2.cartToPolar(np.ascontiguousarray(u), np.ascontiguousarray(v))
    angle = np.abs(np.mod(angle, np.float32(2 * fold)) - np.float32(fold))  # 0 at an inner corner, `fold` at a tip
    corner = tip * waist
    across, along = tip * np.sin(fold), tip * np.cos(fold) - corner
    norm = np.hypot(across, along)
    return (length * np.cos(angle) - np.float32(corner)) * np.float32(across / norm) - length * np.sin(
        angle
    ) * np.float32(along / norm)


def star(v: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """Outline of a star of the disk's area with five tips.

    Its inner corners lie at 0.45 of the tips' radius; at 0.38 it would be the pentagram, whose tips are too thin at 64
    pixels.
    """
    return _tips(v, u, radius, tips=5, waist=0.45)


def stripes(v: np.ndarray, u: np.ndarray, period: float) -> np.ndarray:
    """Texture of straight stripes that alternate along v."""
    return np.sin(v * np.float32(2 * np.pi / period))


def checks(v: np.ndarray, u: np.ndarray, period: float) -> np.ndarray:
    """Texture of a chess board, whose squares are as wide as the stripes of the same period."""
    turn = np.float32(2 * np.pi / period)
    product = np.sin(v * turn) * np.sin(u * turn)
    return np.sign(product) * np.sqrt(np.abs(product))  # the root keeps the flanks as steep as those of the stripes


def dots(v: np.ndarray, u: np.ndarray, period: float) -> np.ndarray:
    """Texture of round dots on a square lattice, which cover about a third of the surface."""
    turn = np.float32(2 * np.pi / period)
    return (np.cos(v * turn) + np.cos(u * turn)) / 2 - np.float32(0.25)


def clouds(height: int, width: int, cell: float, rng: np.random.Generator) -> np.ndarray:
    """Draws smooth random blotches with finer ones upon them.

    Args:
        height: H.
        width: W.
        cell: width of the blotches in pixels, about.
        rng: draws their values.

    Returns:
        float32 [H,W] in [-1,1].
    """
    total = np.zeros((height, width), np.float32)
    for weight, size in ((1.0, cell), (0.5, cell / 2)):
        shape = (int(height / size) + 3, int(width / size) + 3)
        grid = rng.uniform(-1, 1, shape).astype(np.float32)
        total += np.float32(weight) * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, -1, 1)


def two_colors(pattern: np.ndarray, first: np.ndarray, second: np.ndarray, sharpness: float) -> np.ndarray:
    """Paints a pattern with two colors.

    Args:
        pattern: float32 [H,W] in [-1,1].
        first: float32 [3], the color where the pattern is below 0.
        second: float32 [3], the color where it is above 0.
        sharpness: slope of the transition between them; the larger, the sharper.

    Returns:
        float32 [H,W,3].
    """
    share = np.clip(pattern * np.float32(sharpness) + np.float32(0.5), 0, 1)[..., None]
    return first + share * (second - first)
