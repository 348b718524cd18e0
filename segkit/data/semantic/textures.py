"""Outlines and textures drawn as formulas over pixel grids: what the embedded data set is painted with.

Legend: H W image; v u coordinates of pixel centres in the object's own turned frame, in pixels.
An outline maps (v, u, radius) to the distance to its border in pixels, float32 [H,W], negative inside (exact near
straight borders). A texture maps (v, u, period) to float32 [H,W] in [-1,1], whose sign picks one of two colors.
"""

from collections.abc import Callable

import cv2
import numpy as np

Outline = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
Texture = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def turned(height: int, width: int, center: tuple[float, float], angle: float) -> tuple[np.ndarray, np.ndarray]:
    """center: (y, x) in pixels; angle in radians -> v, u: float32 [H,W], coordinates about the centre, turned."""
    y = np.arange(height, dtype=np.float32)[:, None] + np.float32(0.5 - center[0])
    x = np.arange(width, dtype=np.float32)[None] + np.float32(0.5 - center[1])
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * y - sin * x, sin * y + cos * x


def disk(v: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """Circle of the given radius."""
    return cv2.magnitude(v, u) - np.float32(radius)


def square(v: np.ndarray, u: np.ndarray, radius: float) -> np.ndarray:
    """Square of the disk's area: its half side is radius * sqrt(pi) / 2, so size tells nothing about the class."""
    return np.maximum(np.abs(v), np.abs(u)) - np.float32(radius * np.sqrt(np.pi) / 2)


def _tips(v: np.ndarray, u: np.ndarray, radius: float, tips: int, waist: float) -> np.ndarray:
    """Figure of the disk's area with `tips` equal tips; its inner corners lie at `waist` of the tips' radius.

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
    """Star with five tips; with a waist of .38 it would be the pentagram, whose tips are too thin at 64 pixels."""
    return _tips(v, u, radius, tips=5, waist=0.45)


def stripes(v: np.ndarray, u: np.ndarray, period: float) -> np.ndarray:
    """Straight stripes across v."""
    return np.sin(v * np.float32(2 * np.pi / period))


def checks(v: np.ndarray, u: np.ndarray, period: float) -> np.ndarray:
    """Chess board; its fields are as wide as the stripes of the same period."""
    turn = np.float32(2 * np.pi / period)
    product = np.sin(v * turn) * np.sin(u * turn)
    return np.sign(product) * np.sqrt(np.abs(product))  # the root keeps the flanks as steep as those of the stripes


def dots(v: np.ndarray, u: np.ndarray, period: float) -> np.ndarray:
    """Round dots on a square lattice; they cover about a third of the surface."""
    turn = np.float32(2 * np.pi / period)
    return (np.cos(v * turn) + np.cos(u * turn)) / 2 - np.float32(0.25)


def clouds(height: int, width: int, cell: float, rng: np.random.Generator) -> np.ndarray:
    """Smooth random blotches about `cell` pixels wide with finer ones upon them -> float32 [H,W] in [-1,1]."""
    total = np.zeros((height, width), np.float32)
    for weight, size in ((1.0, cell), (0.5, cell / 2)):
        shape = (int(height / size) + 3, int(width / size) + 3)
        grid = rng.uniform(-1, 1, shape).astype(np.float32)
        total += np.float32(weight) * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, -1, 1)


def two_colors(pattern: np.ndarray, first: np.ndarray, second: np.ndarray, sharpness: float) -> np.ndarray:
    """pattern: float32 [H,W] in [-1,1]; colors: float32 [3] -> float32 [H,W,3], first where the pattern is below 0."""
    share = np.clip(pattern * np.float32(sharpness) + np.float32(0.5), 0, 1)[..., None]
    return first + share * (second - first)
