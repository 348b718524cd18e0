"""Panels of pictures: enlarged images side by side, with boxes, heat maps and points."""

from collections.abc import Sequence

import cv2
import numpy as np

from segkit.types import Color

SCALE = 2
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def enlarged(image: np.ndarray, scale: int = SCALE) -> np.ndarray:
    return image.repeat(scale, 0).repeat(scale, 1)


def beside(columns: Sequence[np.ndarray], gap: int = 8) -> np.ndarray:
    """Puts pictures of any sizes side by side on white, their tops in line."""
    height = max(len(one) for one in columns)
    padded = []
    for one in columns:
        filled = np.full((height, one.shape[1] + gap, 3), 255, np.uint8)
        filled[: len(one), : one.shape[1]] = one
        padded.append(filled)
    return np.concatenate(padded, 1)[:, :-gap]


def below(rows: Sequence[np.ndarray], gap: int = 8) -> np.ndarray:
    """Puts pictures of any sizes below each other on white."""
    turned = [one.transpose(1, 0, 2) for one in rows]
    return beside(turned, gap).transpose(1, 0, 2)


def shown(image: np.ndarray) -> np.ndarray:
    """An image of any type as uint8."""
    return np.clip(image, 0, 255).astype(np.uint8)


def boxed(picture: np.ndarray, boxes: np.ndarray, colors: Sequence[Color], scale: int = SCALE) -> np.ndarray:
    """Draws boxes on an enlarged picture, in colors with a black rim.

    Args:
        picture: uint8 [H,W,3], enlarged by `scale`.
        boxes: float [n,4] in pixels of the image.
        colors: n of them.
        scale: of the picture.
    """
    picture = picture.copy()
    for box, color in zip(boxes, colors):
        x0, y0, x1, y1 = (round(scale * float(value)) for value in box)
        for width, drawn in ((5, BLACK), (2, tuple(int(value) for value in color))):
            cv2.rectangle(picture, (x0 + 1, y0 + 1), (x1 - 2, y1 - 2), drawn, width)
    return picture


def heat(values: np.ndarray) -> np.ndarray:
    """A map of numbers as colors from dark to bright, uint8 [H,W,3]."""
    low, high = float(values.min()), float(values.max())
    scaled = (255 * (values - low) / max(high - low, 1e-9)).astype(np.uint8)
    return cv2.applyColorMap(scaled, cv2.COLORMAP_VIRIDIS)[..., ::-1].copy()


def gray(mask: np.ndarray) -> np.ndarray:
    """A mask of 0 and 1 as black and white, uint8 [H,W,3]."""
    return np.repeat((np.clip(mask, 0, 1) * 255).astype(np.uint8)[..., None], 3, 2)


def dotted(picture: np.ndarray, points: np.ndarray, colors: Sequence[Color], scale: int = SCALE) -> np.ndarray:
    """Draws points (x, y) of an image on its enlarged picture."""
    picture = picture.copy()
    for (x, y), color in zip(points, colors):
        center = (round(scale * float(x)), round(scale * float(y)))
        cv2.circle(picture, center, 5, WHITE, -1, cv2.LINE_AA)
        cv2.circle(picture, center, 4, tuple(int(value) for value in color), -1, cv2.LINE_AA)
    return picture
