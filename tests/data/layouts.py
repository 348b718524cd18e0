"""Small files in the official layouts, written where a test wants them."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image


def write_image(path: Path, size: tuple[int, int] = (6, 8), value: int = 100) -> None:
    """A grey picture with one pixel of another grey; size (H, W)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.full((*size, 3), value, np.uint8)
    image[-1, -1] ^= 64
    cv2.imwrite(str(path), image)


def write_mask(path: Path, labels: object, *, palette: bool = False) -> None:
    """labels: rows of raw labels, or one value for a whole 6x8 mask -> PNG, with a palette where asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.full((6, 8), labels, np.uint8) if np.isscalar(labels) else np.asarray(labels)
    image = Image.fromarray(array.astype(np.uint8) if array.dtype == np.int64 else array)
    if palette:
        image.putpalette([(7 * i) % 256 for i in range(768)])
    image.save(path)


def rows(*values: int) -> np.ndarray:
    """Up to 8 values as the first row of a 6x8 uint8 mask; the rest is the last value."""
    mask = np.full((6, 8), values[-1], np.uint8)
    mask[0, : len(values)] = values
    return mask
