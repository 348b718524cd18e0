"""Noise, blur and digital faults of images, each in five strengths, to measure how robust a model is.

The list and its constants are those of Hendrycks and Dietterich, ICLR 2019, https://arxiv.org/abs/1903.12261; the
choice of sixteen for segmentation is that of Kamann and Rother, CVPR 2020, https://arxiv.org/abs/1908.05005. The
functions are written anew, so scores are near those of their images and not equal to them. Values are float32 [H,W,C]
in 0..1.
"""

from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np

from segkit.data.transforms.color_operations import compressed

Corruption: TypeAlias = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""Takes an image float32 [H,W,C] in 0..1, a strength 1 to 5 and a generator; returns one of its shape, not clipped."""


def gaussian_noise(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Adds noise of a normal distribution, as weak light gives it."""
    return image + _normal(rng, image.shape) * (0.08, 0.12, 0.18, 0.26, 0.38)[strength - 1]


def shot_noise(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Counts photons: noise of a Poisson distribution."""
    photons = (60, 25, 12, 5, 3)[strength - 1]
    return (rng.poisson(np.clip(image, 0, 1) * photons) / photons).astype(np.float32)


def impulse_noise(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Turns a share of the values into 0 or 1, as faulty bits do (salt and pepper)."""
    share = (0.03, 0.06, 0.09, 0.17, 0.27)[strength - 1]
    drawn = rng.random(image.shape, np.float32)
    return np.where(drawn < share / 2, 0.0, np.where(drawn < share, 1.0, image)).astype(np.float32)


def speckle_noise(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Adds noise in proportion to the value."""
    return image + image * _normal(rng, image.shape) * (0.15, 0.2, 0.35, 0.45, 0.6)[strength - 1]


def gaussian_blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Blurs by a Gaussian of 1 to 6 pixels."""
    return blurred(image, (1, 2, 3, 4, 6)[strength - 1])


def defocus_blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Blurs by a disc, as a lens out of focus does."""
    radius, alias = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))[strength - 1]
    reach = max(8, radius)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (x**2 + y**2 <= radius**2).astype(np.float32)
    side = 3 if radius <= 8 else 5
    disc = cv2.GaussianBlur(disc / disc.sum(), (side, side), alias)
    return _channels(cv2.filter2D(image, -1, disc, borderType=cv2.BORDER_REFLECT_101), image)


def glass_blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Moves pixels by random steps of a few pixels between two blurs, as frosted glass does."""
    sigma, reach, times = ((0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2))[strength - 1]
    moved = blurred(image, sigma)
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    for _ in range(times):
        # each pixel takes a neighbour's value; the published loop swaps one pair after the other
        step = rng.integers(-reach, reach, (2, height, width), endpoint=True)
        moved = moved[np.clip(y + step[0], 0, height - 1), np.clip(x + step[1], 0, width - 1)]
    return blurred(moved, sigma)


def motion_blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Blurs along a line of a random angle of -45 to 45 degrees, as a moving camera does."""
    radius, sigma = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[strength - 1]
    return along_line(image, radius, sigma, rng.uniform(-45, 45))


def zoom_blur(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Averages ever larger views of the centre, as a camera does that moves forward."""
    last, step = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))[strength - 1]
    factors = np.arange(1, last, step)
    total = image.copy()
    for factor in factors.tolist():
        total += enlarged(image, factor)
    return total / (len(factors) + 1)


def contrast(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Brings values near the mean of their channel."""
    mean = image.mean((0, 1), keepdims=True)
    return (image - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[strength - 1] + mean


def brightness(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Adds to HSV's value. RGB."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.1 * strength, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def saturate(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Changes HSV's saturation: paler, then far stronger. RGB."""
    factor, shift = ((0.3, 0.0), (0.1, 0.0), (2.0, 0.0), (5.0, 0.1), (20.0, 0.2))[strength - 1]
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + shift, 0, 1)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def jpeg(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Compresses as JPEG of quality 25 to 7. RGB."""
    levels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return compressed(levels, (25, 18, 15, 10, 7)[strength - 1]).astype(np.float32) / 255


def pixelate(image: np.ndarray, strength: int, rng: np.random.Generator) -> np.ndarray:
    """Shrinks by the mean of areas, and enlarges to squares."""
    factor = (0.6, 0.5, 0.4, 0.3, 0.25)[strength - 1]
    height, width = image.shape[:2]
    size = (max(round(width * factor), 1), max(round(height * factor), 1))
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return _channels(cv2.resize(small, (width, height), interpolation=cv2.INTER_NEAREST), image)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Returns an image [H,W] or [H,W,C] after a Gaussian blur that reaches 4 sigma; edges are repeated."""
    side = 2 * int(4 * sigma + 0.5) + 1
    return _channels(cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE), image)


def along_line(image: np.ndarray, radius: int, sigma: float, degrees: float) -> np.ndarray:
    """Returns the mean of an image and its copies moved along a line, the farther the less they count.

    Args:
        image: float32 [H,W] or [H,W,C].
        radius: farthest copy in pixels.
        sigma: of the Gaussian of the weights, in pixels.
        degrees: angle of the line, counter-clockwise.
    """
    weights = np.exp(-0.5 * (np.arange(2 * radius + 1) / sigma) ** 2)
    kernel = np.zeros((4 * radius + 3, 4 * radius + 3), np.float32)
    middle = 2 * radius + 1
    direction = np.deg2rad(degrees)
    for distance, weight in enumerate(weights.tolist()):
        y, x = middle + distance * np.sin(direction), middle - distance * np.cos(direction)
        y0, x0 = int(np.floor(y)), int(np.floor(x))
        dy, dx = y - y0, x - x0
        kernel[y0, x0] += weight * (1 - dy) * (1 - dx)
        kernel[min(y0 + 1, 2 * middle), x0] += weight * dy * (1 - dx)
        kernel[y0, min(x0 + 1, 2 * middle)] += weight * (1 - dy) * dx
        kernel[min(y0 + 1, 2 * middle), min(x0 + 1, 2 * middle)] += weight * dy * dx
    return _channels(cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE), image)


def enlarged(image: np.ndarray, factor: float) -> np.ndarray:
    """Returns the centre of an image [H,W] or [H,W,C], enlarged by a factor of 1 or more to the image's size."""
    height, width = image.shape[:2]
    h, w = max(int(np.ceil(height / factor)), 1), max(int(np.ceil(width / factor)), 1)
    top, left = (height - h) // 2, (width - w) // 2
    part = image[top : top + h, left : left + w]
    return _channels(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), image)


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def _channels(found: np.ndarray, image: np.ndarray) -> np.ndarray:
    """OpenCV drops the axis of a single channel."""
    return found.reshape(image.shape)
