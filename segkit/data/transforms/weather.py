"""Fog, frost, snow and spatter over an image, each in five strengths; see corruptions. Values are float32 [H,W,3]."""

import cv2
import numpy as np

from segkit.data.transforms.corruptions import along_line, blurred, enlarged

TURQUOISE = (175 / 255, 238 / 255, 238 / 255)
"""Of drops of water, RGB."""

MUD = (63 / 255, 42 / 255, 20 / 255)


def fog(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Adds a cloud of fractal noise."""
    weight, decay = ((1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4))[strength - 1]
    highest = float(image.max())
    return (image + weight * plasma(image.shape[:2], decay, rng)[..., None]) * highest / (highest + weight)


def frost(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Lays needles of ice over the image.

    The published set lays photographs of frost over it; here they are drawn: ridges of fractal noise, thickest at the
    frame, so that scores cannot be compared with published ones.
    """
    kept, laid = ((1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))[strength - 1]
    height, width = image.shape[:2]
    fine, coarse = plasma((height, width), 1.6, rng), plasma((height, width), 2.2, rng)
    ridges = 1 - np.abs(2 * fine - 1)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    edge = np.maximum(np.abs(y), np.abs(x)) ** 2
    ice = np.clip(0.75 * ridges**3 + 0.6 * coarse * edge, 0, 1).astype(np.float32)
    color = np.array([0.86, 0.93, 1.0], np.float32)
    return kept * image + laid * ice[..., None] * color


def snow(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Whitens the image, and lets flakes fall in two directions."""
    mean, spread, zoom, least, radius, sigma, kept = (
        (0.1, 0.3, 3.0, 0.5, 10, 4, 0.8),
        (0.2, 0.3, 2.0, 0.5, 12, 4, 0.7),
        (0.55, 0.3, 4.0, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
        (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )[strength - 1]
    flakes = enlarged(rng.normal(mean, spread, image.shape[:2]).astype(np.float32), zoom)
    flakes = np.clip(np.where(flakes < least, 0, flakes), 0, 1).astype(np.float32)
    flakes = along_line(flakes, radius, sigma, rng.uniform(-135, -45))[..., None]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    whitened = kept * image + (1 - kept) * np.maximum(image, grey * 1.5 + 0.5)
    return whitened + flakes + flakes[::-1, ::-1]


def spatter(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Spatters the lens with water (strengths 1 to 3) or mud (4 and 5)."""
    mean, spread, sigma, least, opacity, is_mud = (
        (0.65, 0.3, 4, 0.69, 0.6, False),
        (0.65, 0.3, 3, 0.68, 0.6, False),
        (0.65, 0.3, 2, 0.68, 0.5, False),
        (0.65, 0.3, 1, 0.65, 1.5, True),
        (0.67, 0.4, 1, 0.65, 1.5, True),
    )[strength - 1]
    liquid = blurred(rng.normal(mean, spread, image.shape[:2]).astype(np.float32), sigma)
    is_wet = liquid >= least
    if is_mud:
        # opacity is the blur of the mud's edge here
        cover = blurred(is_wet.astype(np.float32), opacity)
        cover = np.where(cover < 0.8, 0, cover)[..., None]
        return image * (1 - cover) + np.array(MUD, np.float32) * cover
    # the deeper within a drop, the more of it is seen
    depth = np.minimum(cv2.distanceTransform(is_wet.astype(np.uint8), cv2.DIST_L2, 5), 20)
    drops = blurred(np.where(is_wet, liquid * (0.5 + depth / 20), 0).astype(np.float32), 1)
    highest = float(drops.max())
    cover = (drops / highest * opacity if highest else drops)[..., None]
    return image * (1 - cover) + np.array(TURQUOISE, np.float32) * cover


def plasma(size: tuple[int, int], decay: float, rng: np.random.Generator) -> np.ndarray:
    """Draws fractal noise by the diamond-square rule, float32 [H,W] in 0..1.

    Args:
        size: height and width.
        decay: factor by which the steps fall as their grid is halved; the larger, the smoother.
        rng: of the steps.
    """
    side = 1 << max(int(np.ceil(np.log2(max(*size, 2)))), 1)
    heights = np.zeros((side, side), np.float32)
    step, swing = side, 100.0
    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        squares = corners + np.roll(corners, -1, 0)
        squares = squares + np.roll(squares, -1, 1)
        heights[half::step, half::step] = squares / 4 + _swings(squares.shape, swing, rng)
        middles = heights[half::step, half::step]
        # points between two corners: mean of these and of the two middles beside them; the map wraps around
        across = corners + np.roll(corners, -1, 1) + middles + np.roll(middles, 1, 0)
        heights[::step, half::step] = across / 4 + _swings(across.shape, swing, rng)
        down = corners + np.roll(corners, -1, 0) + middles + np.roll(middles, 1, 1)
        heights[half::step, ::step] = down / 4 + _swings(down.shape, swing, rng)
        step, swing = half, swing / decay
    cut = heights[: size[0], : size[1]]
    low, high = float(heights.min()), float(heights.max())
    return (cut - low) / (high - low) if high > low else np.zeros_like(cut)


def _swings(shape: tuple[int, ...], swing: float, rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-swing, swing, shape).astype(np.float32)
