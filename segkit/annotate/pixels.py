"""The pixels of an image of any size, turned upright, in windows and at smaller scales. H W image.

Level l is the image at 1 / 2^l of its size, rounded up; its pixels are means of 2^l x 2^l pixels.
"""

import threading
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from segkit.annotate.region import Box
from segkit.data.dataset import Reading, without_missing
from segkit.data.files.orientation import UPRIGHT, orientation_of_file, turned
from segkit.data.large.open_large import open_large, size_of
from segkit.data.large.reader import WindowReader
from segkit.files import DataError
from segkit.runners.input_images import Inputs

TILE = 512
"""Side of a tile in pixels."""

WHOLE = 1 << 25
"""Pixels of an image that is held as a whole."""

OVERVIEW = 1 << 23
"""Pixels of the largest level that is held of a larger image."""

FLIPPED_ROWS, FLIPPED_COLUMNS, FIRST_SWAPPED = (3, 4, 7, 8), (2, 3, 6, 7), 5
"""Orientations of EXIF by what turns an image upright, see orientation.turned."""


class Size(NamedTuple):
    """Height and width of an image that is upright, as stored, and its orientation."""

    upright: tuple[int, int]
    stored: tuple[int, int]
    orientation: int


def levels_of(size: tuple[int, int]) -> int:
    """Returns how many levels an image of size (H, W) has: the last fits into one tile."""
    return max(0, (max(1, -(-max(size) // TILE)) - 1).bit_length()) + 1


def level_size(size: tuple[int, int], level: int) -> tuple[int, int]:
    """Returns (height, width) of a level."""
    return -(-size[0] >> level), -(-size[1] >> level)


class Pixels:
    """Reads an image in windows of any level; one that is small enough is held as a whole.

    Args:
        path: of the image.
        inputs: how images are read.

    Raises:
        DataError: it cannot be read.
    """

    def __init__(self, path: str | Path, inputs: Inputs):
        self.path, self._inputs = str(path), inputs
        self._lock = threading.RLock()
        self._whole: np.ndarray | None = None
        self._reader: WindowReader | None = None
        self._overview: tuple[int, np.ndarray] | None = None
        found = size_of(path)
        if found is None or found[0] * found[1] <= WHOLE:
            self._whole = _checked(inputs.read(path), self.path)
            self.size = (self._whole.shape[0], self._whole.shape[1])
            return
        if inputs.reading.has_percentiles:
            raise DataError(
                f"{path}: scale = {inputs.reading.scale}: percentiles are of whole images, and this one is read in "
                "windows; give two numbers (segkit analyze values proposes them)"
            )
        self._reader = open_large(path)
        page = self._reader.page
        is_tiff = page.orientation != UPRIGHT or str(path).lower().endswith((".tif", ".tiff"))
        value = page.orientation if is_tiff else orientation_of_file(self.path)
        self._orientation = value if inputs.reading.exif else UPRIGHT
        height, width = self._reader.size
        self.size = (width, height) if self._orientation >= FIRST_SWAPPED else (height, width)

    @property
    def num_bytes(self) -> int:
        """Of the pixels that are held."""
        held = 0 if self._whole is None else self._whole.nbytes
        return held + (0 if self._overview is None else self._overview[1].nbytes)

    def close(self) -> None:
        """Closes the file; the object is of no use afterwards."""
        with self._lock:
            if self._reader is not None:
                self._reader.close()

    def window(self, box: Box) -> np.ndarray:
        """Reads the pixels of a box within the image; uint8 or float32 [h,w,3], RGB in 0..255."""
        x0, y0, x1, y1 = box
        if self._whole is not None:
            return self._whole[y0:y1, x0:x1]
        return self._read(x0, y0, x1, y1)

    def _read(self, x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
        """A window of an image that is not held, by where it lies as stored."""
        assert self._reader is not None, "of an image that is not held"
        height, width = self.size
        value = self._orientation
        rows = (height - y1, height - y0) if value in FLIPPED_ROWS else (y0, y1)
        columns = (width - x1, width - x0) if value in FLIPPED_COLUMNS else (x0, x1)
        if value >= FIRST_SWAPPED:
            rows, columns = columns, rows
        reading, channels = self._inputs.reading, self._inputs.channels
        with self._lock:
            samples = self._reader.read(rows[0], columns[0], rows[1] - rows[0], columns[1] - columns[0])
            reading = Reading(
                nodata=self._reader.missing_value(reading.nodata, channels), scale=reading.scale, bands=reading.bands
            )
            image = self._reader.image(samples, channels, reading)
        image = without_missing(image, reading.nodata, self.path, is_marked=True)[0]
        return turned(image, value)

    def tile(self, level: int, column: int, row: int) -> np.ndarray:
        """Returns a tile for showing, uint8 [h,w,3]; it lies within the level."""
        height, width = level_size(self.size, level)
        y0, x0 = row * TILE, column * TILE
        return self.at_level(level, (x0, y0, min(x0 + TILE, width), min(y0 + TILE, height)))

    def at_level(self, level: int, box: Box) -> np.ndarray:
        """Returns a box of a level for showing, uint8 [h,w,3]."""
        x0, y0, x1, y1 = box
        least, overview = self._held(level)
        if overview is not None:
            step = level - least
            edges = (x0 << step, y0 << step, x1 << step, y1 << step)
            return _reduced(overview[edges[1] : edges[3], edges[0] : edges[2]], step)
        height, width = self.size
        source = (x0 << level, y0 << level, min(x1 << level, width), min(y1 << level, height))
        return _reduced(_shown(self.window(source)), level)

    def _held(self, level: int) -> tuple[int, np.ndarray | None]:
        """A level below or at this one whose pixels are held, for showing; (0, None) where there is none."""
        if self._whole is not None:
            return 0, self._whole if self._whole.dtype == np.uint8 else None
        least = 0
        while np.prod(level_size(self.size, least)) > OVERVIEW:
            least += 1
        if level < least:
            return 0, None
        with self._lock:
            if self._overview is None:
                self._overview = least, self._made_overview(least)
            return self._overview

    def _made_overview(self, level: int) -> np.ndarray:
        height, width = self.size
        rows, columns = level_size(self.size, level)
        overview = np.empty((rows, columns, 3), np.uint8)
        step = max(1, (TILE << 1) >> level) << level
        side = max(step, 1 << level) * 4
        for y0 in range(0, height, step):
            for x0 in range(0, width, side):
                y1, x1 = min(y0 + step, height), min(x0 + side, width)
                part = _reduced(_shown(self.window((x0, y0, x1, y1))), level)
                overview[y0 >> level : -(-y1 >> level), x0 >> level : -(-x1 >> level)] = part
        return overview

    def view(self, box: Box, size: tuple[int, int]) -> np.ndarray:
        """Reads a box for a model.

        Args:
            box: within the image.
            size: (h, w) of the result; the box's own size leaves the pixels as they are.

        Returns:
            [h,w,3], RGB in 0..255.
        """
        x0, y0, x1, y1 = box
        if size == (y1 - y0, x1 - x0):
            return self.window(box)
        level = 0
        while (y1 - y0) >> (level + 1) >= size[0] and (x1 - x0) >> (level + 1) >= size[1]:
            level += 1
        height, width = level_size(self.size, level)
        part = (x0 >> level, y0 >> level, min(-(-x1 >> level), width), min(-(-y1 >> level), height))
        return cv2.resize(self.at_level(level, part), (size[1], size[0]), interpolation=cv2.INTER_AREA)


def _checked(image: np.ndarray, path: str) -> np.ndarray:
    if 0 in image.shape:
        raise DataError(f"{path}: an image of {image.shape[1]}x{image.shape[0]} pixels; take it out of the folder")
    return image


def _shown(image: np.ndarray) -> np.ndarray:
    """uint8 of an image whose values may lie between whole numbers or beyond 0..255."""
    return image if image.dtype == np.uint8 else np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _reduced(image: np.ndarray, level: int) -> np.ndarray:
    """Means of 2^level x 2^level pixels; those at the right and lower border are repeated to full squares."""
    if level == 0:
        return np.ascontiguousarray(image)
    side = 1 << level
    height, width = image.shape[:2]
    image = cv2.copyMakeBorder(np.ascontiguousarray(image), 0, -height % side, 0, -width % side, cv2.BORDER_REPLICATE)
    size = image.shape[1] >> level, image.shape[0] >> level
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
