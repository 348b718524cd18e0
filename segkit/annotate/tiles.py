"""Tiles of an image and of its labels as PNG and JPEG files. H W image."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from segkit.annotate.objects import Object
from segkit.annotate.pixels import TILE, Pixels, level_size
from segkit.annotate.region import Box
from segkit.viz.draw import png

QUALITY = 92
"""Of JPEG tiles, at which small details keep their colors."""


def image_tile(pixels: Pixels, level: int, column: int, row: int) -> bytes:
    """Returns a tile of the image: PNG at full size, where single pixels are looked at, and JPEG of smaller levels."""
    tile = pixels.tile(level, column, row)
    if level == 0:
        return cv2.imencode(".png", tile[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()
    return cv2.imencode(".jpg", tile[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def positions(size: tuple[int, int], level: int, column: int, row: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows and columns of the image that a tile of labels shows, int64 [h] and [w]: the upper left pixels.

    Args:
        size: (H, W).
        level, column, row: of the tile, which lies within the level.
    """
    height, width = level_size(size, level)
    rows = np.arange(row * TILE, min((row + 1) * TILE, height)) << level
    columns = np.arange(column * TILE, min((column + 1) * TILE, width)) << level
    # the pixel in the middle of those that an image tile takes the mean of
    middle = (1 << level) // 2
    return np.minimum(rows + middle, size[0] - 1), np.minimum(columns + middle, size[1] - 1)


def label_tile(layers: Sequence[Object], size: tuple[int, int], level: int, column: int, row: int) -> bytes:
    """Returns a tile of the labels: PNG whose R + 256 G is the number of the topmost visible object, 0 of none.

    Args:
        layers: the objects, the lowest first.
        size: (H, W).
        level, column, row: of the tile.
    """
    rows, columns = positions(size, level, column, row)
    numbers = np.zeros((len(rows), len(columns)), np.uint16)
    for item in layers:
        if item.visible and not item.mask.is_empty:
            numbers[item.mask.at(rows, columns)] = item.number
    colors = np.zeros((*numbers.shape, 3), np.uint8)
    colors[..., 0], colors[..., 1] = numbers & 255, numbers >> 8
    return cv2.imencode(".png", colors[:, :, ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def probability_tile(
    values_at: Callable[[np.ndarray, np.ndarray], np.ndarray], size: tuple[int, int], level: int, column: int, row: int
) -> bytes:
    """Returns a tile of probabilities, a grey PNG of 255 times their value.

    Args:
        values_at: gives the probabilities of rows and columns, float [h,w].
        size: (H, W).
        level, column, row: of the tile.
    """
    values = values_at(*positions(size, level, column, row))
    return png(np.rint(values * 255).astype(np.uint8))


def class_rows(layers: Sequence[Object], values: Sequence[int], box: Box) -> np.ndarray:
    """Returns a part of the map of classes, uint8 [h,w]: the value of the topmost object's class, 0 of none.

    Args:
        layers: the objects, the lowest first; invisible ones count.
        values: of each class.
        box: the part.
    """
    x0, y0, x1, y1 = box
    labels = np.zeros((y1 - y0, x1 - x0), np.uint8)
    for item in layers:
        bx0, by0, bx1, by1 = item.mask.box
        inner = max(x0, bx0), max(y0, by0), min(x1, bx1), min(y1, by1)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            part = labels[inner[1] - y0 : inner[3] - y0, inner[0] - x0 : inner[2] - x0]
            part[item.mask.window(inner)] = values[item.label]
    return labels
