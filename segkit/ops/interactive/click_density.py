"""Click maps made of users' clicks, and the square picture that a clickability network sees. H W image.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 4.
"""

import math
from typing import NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FULL_HD = math.hypot(1920, 1080)
"""Diagonal of the picture that a map's sigma is stated for."""


def click_density(clicks: np.ndarray, size: tuple[int, int], sigma: float = 5.0) -> np.ndarray:
    """Spreads clicks by a Gaussian: one click alone has a peak of 255 where its Gaussian is fine enough.

    Args:
        clicks: int [n,2] of y, x, inside of the image.
        size: (H, W).
        sigma: of the Gaussian in pixels of a picture of 1920 x 1080, scaled by the image's diagonal.

    Returns:
        float32 [H,W].
    """
    height, width = size
    spread = sigma * math.hypot(height, width) / FULL_HD
    grid = np.zeros(size, np.float32)
    np.add.at(grid, (clicks[:, 0], clicks[:, 1]), np.float32(255 * 2 * math.pi * spread**2 / len(clicks)))
    side = math.ceil(7 * spread)
    side += (side + 1) % 2
    return cv2.GaussianBlur(grid, (side, side), sigmaX=spread, sigmaY=spread, borderType=cv2.BORDER_CONSTANT)


def click_map(density: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Restricts the density of clicks to the region that they correct, whose border is softened.

    Args:
        density: float32 [H,W] of click_density, with a value above 0.
        error: bool [H,W], the region.

    Returns:
        float32 [H,W] in 0..1.
    """
    from scipy.ndimage import gaussian_filter

    radius = int(5 * math.hypot(*error.shape) / (500 * math.sqrt(2)))
    return density / density.max() * gaussian_filter(error.astype(np.float32), sigma=radius)


class LetterBox(NamedTuple):
    """An image fitted into the middle of a square, as large as it goes.

    Attributes:
        size: (H, W) of the image.
        side: of the square in pixels.
        fitted: (height, width) of the image within the square.
    """

    size: tuple[int, int]
    side: int
    fitted: tuple[int, int]

    @property
    def place(self) -> tuple[slice, slice]:
        """Rows and columns of the image within the square."""
        top, left = ((self.side - length) // 2 for length in self.fitted)
        return slice(top, top + self.fitted[0]), slice(left, left + self.fitted[1])

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Fits a map of the image, float32 [H,W] or [H,W,C], into the square, with zeros around it."""
        square = np.zeros((self.side, self.side, *x.shape[2:]), x.dtype)
        square[self.place] = cv2.resize(x, self.fitted[::-1], interpolation=cv2.INTER_LINEAR)
        return square

    def restore(self, x: Tensor) -> Tensor:
        """Puts a map of the square back to the image's size: float [B,C,side,side] to [B,C,H,W]."""
        rows, columns = self.place
        return F.interpolate(x[..., rows, columns], self.size, mode="bilinear", align_corners=False, antialias=True)


def letter_box(size: tuple[int, int], side: int = 416) -> LetterBox:
    """Returns how an image of (H, W) is fitted into a square; the shorter side is rounded down, and is 1 at least."""
    height, width = size
    fitted = (side, max(width * side // height, 1)) if height > width else (max(height * side // width, 1), side)
    return LetterBox(size, side, fitted)


def as_input(box: LetterBox, x: np.ndarray) -> Tensor:
    """Returns a map of the image, float32 [H,W] or [H,W,C], as the network's input, float32 [1,C,side,side]."""
    square = box.apply(x.astype(np.float32, copy=False))
    square = square[:, :, None] if square.ndim == 2 else square
    return torch.from_numpy(np.ascontiguousarray(square.transpose(2, 0, 1)))[None]
