"""Label maps of images that are larger than memory: windows come in, finished rows go out; torch is not needed.

What is held is a band of one window's height, cut into panels where it would be too wide; windows across the border of
two panels are predicted for each.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from segkit.data.dataset import without_missing
from segkit.data.large.grid import window_starts
from segkit.data.large.reader import WindowReader
from segkit.data.large.tiff_writer import TILE, TiffWriter
from segkit.files import DataError, whole_file
from segkit.runners.input_images import Inputs
from segkit.types import Color, default_palette
from segkit.viz import draw

PANEL_BYTES = 1 << 28
"""Bytes of the sums and pixels of a band that are held at once, about."""

OVERVIEW = 2048
"""Longer side of the overlay of a large image in pixels, at most."""

WINDOW = 512
"""Side of a window in pixels, where neither inference.crop nor a training crop says one."""

NO_LABEL = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}
"""Label of pixels without data."""


@dataclass(frozen=True)
class LabelFile:
    """What was written for a large image.

    labels: the file; windows: how many were predicted; rows_held: of the image, at once.
    """

    labels: Path
    windows: int
    rows_held: int


class Sums(Protocol):
    """The sums of what overlapping windows predict in a band of an image, and how many windows each pixel lies in."""

    def add(self, image: np.ndarray | None, source: str, window: tuple[int, ...], mine: slice, there: slice) -> None:
        """Predicts a window and adds a part of it.

        Args:
            image: uint8 or float32 [h,w,C], without missing pixels; None where nothing is seen, which counts alone.
            source: the image's file.
            window: (y0, x0, y1, x1, H, W), its position in the whole image.
            mine: columns of the window that are added.
            there: columns of the band that they are added to.
        """

    def move_up(self, rows: int) -> None:
        """Drops the first rows; as many empty ones follow below."""

    def labels(self, rows: int) -> np.ndarray:
        """Returns the labels of the first rows, [rows,w]."""


class WindowModel(Protocol):
    """A model that predicts large images in windows.

    Attributes:
        inputs: how images are read.
        crop: (h, w) of a window.
        stride: (h, w) from one window to the next.
        divisor: the image is padded to multiples of it.
        classes: K names, () where they are not known.
        num_classes: K.
        dtype: of labels.
    """

    inputs: Inputs
    crop: tuple[int, int]
    stride: tuple[int, int]
    divisor: int
    classes: tuple[str, ...]
    num_classes: int
    dtype: np.dtype

    def sums(self, height: int, width: int) -> Sums:
        """Returns empty sums of a band."""


def dtype_of(num_classes: int) -> np.dtype:
    """Returns the type of the labels of so many classes, and of one more that says that there are no data."""
    return np.dtype(np.uint8 if max(num_classes, 2) < 256 else np.uint16)


def write_labels(
    model: WindowModel,
    reader: WindowReader,
    labels: Path,
    *,
    overlay: Path | None = None,
    palette: tuple[Color, ...] = (),
    progress: Callable[[int, int], None] | None = None,
) -> LabelFile:
    """Predicts an image into a tiled GeoTIFF of its place, with palette and names of the classes.

    Pixels without data get the label 255 (65535 from 255 classes on), which the file states.

    Args:
        model: predicts its windows.
        reader: of the image.
        labels: the file to write.
        overlay: PNG for a small picture of image and labels; None for none.
        palette: K colors, () for the default ones.
        progress: is told the windows done and those in all.

    Raises:
        DataError: the image is damaged, of other channels, or the result cannot be written.
    """
    reading = model.inputs.reading
    if reading.exif and reader.page.orientation != 1:
        raise DataError(
            f"{reader.path}: states the orientation {reader.page.orientation}, and large images are read as "
            "stored; turn the file, or predict it as it lies with --no-exif"
        )
    colors = tuple(palette) or default_palette(256)
    band = _Band(model, reader)
    picture = None if overlay is None else _Overview(reader.size)
    with whole_file(labels, "choose another --out, or free space") as draft, open(draft, "wb") as file:
        writer = TiffWriter(
            file,
            reader.size,
            model.dtype,
            place=reader.place,
            palette=colors if model.dtype == np.uint8 else (),
            nodata=NO_LABEL[model.dtype],
            names=model.classes,
        )
        for row, column, part, samples in band.finished(progress):
            writer.write(row, column, part)
            if picture is not None:
                picture.add(row, column, part, samples)
        writer.close()
    if picture is not None and overlay is not None:
        image = reader.image(picture.samples, model.inputs.channels, reading._replace(nodata=None))
        draw.save_png(overlay, draw.overlay(draw.to_rgb(image), picture.labels, colors))
    return LabelFile(labels, band.done, band.rows_held)


class _Band:
    """The rows of an image that are being predicted: sums of logits, counts, and the pixels below them."""

    def __init__(self, model: WindowModel, reader: WindowReader):
        self.model, self.reader = model, reader
        divisor = model.divisor
        self.padded = (reader.size[0] + -reader.size[0] % divisor, reader.size[1] + -reader.size[1] % divisor)
        self.crop = min(model.crop[0], self.padded[0]), min(model.crop[1], self.padded[1])
        self.rows = window_starts(self.padded[0], self.crop[0], model.stride[0])
        self.columns = window_starts(self.padded[1], self.crop[1], model.stride[1])
        reading = model.inputs.reading
        self.reading = reading._replace(nodata=reader.missing_value(reading.nodata, model.inputs.channels))
        per_pixel = 8 * model.num_classes + 5 + reader.channels * reader.dtype.itemsize
        most = PANEL_BYTES // (per_pixel * self.crop[0]) // TILE * TILE
        self.width = max(most, -(-self.crop[1] // TILE) * TILE)
        self.panels = [(left, min(left + self.width, self.padded[1])) for left in range(0, self.padded[1], self.width)]
        self.done, self.rows_held = 0, self.crop[0]

    def _windows_of(self, left: int, right: int) -> list[int]:
        return [x for x in self.columns if x < right and x + self.crop[1] > left]

    def finished(
        self, progress: Callable[[int, int], None] | None
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """Yields row, column, labels [h,w] and stored samples [h,w,S] of finished rectangles."""
        total = sum(len(self._windows_of(*panel)) for panel in self.panels) * len(self.rows)
        for left, right in self.panels:
            yield from self._of_panel(left, right, lambda: progress and progress(self.done, total))

    def _of_panel(
        self, left: int, right: int, tell: Callable[[], object]
    ) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        height, width = self.reader.size
        columns = self._windows_of(left, right)
        start, end = min(columns), min(max(columns) + self.crop[1], width)  # of the pixels that are read
        samples = np.zeros((self.crop[0], end - start, self.reader.channels), self.reader.dtype)
        is_missing = np.zeros((self.crop[0], right - left), bool)
        sums = self.model.sums(self.crop[0], right - left)
        top = read = 0  # first row of the band, and the first that is not read yet
        for y in [*self.rows, self.padded[0]]:
            done = min(y, height) - top
            if done > 0:
                labels = sums.labels(done).astype(self.model.dtype)
                labels[is_missing[:done]] = NO_LABEL[self.model.dtype]
                inside = min(right, width) - left
                stored = samples[:done, left - start : left - start + inside]
                yield top, left, labels[:, :inside], stored
            if y == self.padded[0]:
                return
            for array in (samples, is_missing):
                array[: self.crop[0] - (y - top)] = array[y - top :].copy()
            is_missing[self.crop[0] - (y - top) :] = False
            sums.move_up(y - top)
            top, below = y, min(y + self.crop[0], height)
            if below > read:
                samples[read - top : below - top] = self.reader.read(read, start, below - read, end - start)
                read = below
            for x in columns:
                self._add(samples[: below - top], start, top, x, (left, right), sums, is_missing)
                self.done += 1
                tell()

    def _add(
        self,
        samples: np.ndarray,
        start: int,
        y: int,
        x: int,
        panel: tuple[int, int],
        sums: Sums,
        is_missing: np.ndarray,
    ) -> None:
        """Predicts the window at (y, x) and adds the part of it that lies in the panel."""
        channels, path = self.model.inputs.channels, self.reader.path
        stored = samples[:, x - start : x + self.crop[1] - start]
        image = self.reader.image(stored, channels, self.reading)
        source = f"{path} (window at row {y}, column {x})"
        image, missing = without_missing(image, self.reading.nodata, source, is_marked=True)
        first, last = max(x, panel[0]), min(x + self.crop[1], panel[1])
        mine = slice(first - x, last - x)
        there = slice(first - panel[0], last - panel[0])
        if missing is not None:
            inside = missing[:, mine]
            is_missing[: len(inside), first - panel[0] : first - panel[0] + inside.shape[1]] |= inside
        window = (y, x, y + self.crop[0], x + self.crop[1], *self.padded)
        is_unseen = missing is not None and missing.all()  # no label is kept
        sums.add(None if is_unseen else image, path, window, mine, there)


class _Overview:
    """Every n-th pixel of image and labels."""

    def __init__(self, size: tuple[int, int]):
        self.step = max(1, -(-max(size) // OVERVIEW))
        self.size = tuple(-(-side // self.step) for side in size)
        self.labels = np.zeros(self.size, np.uint8)
        self.samples = np.zeros((0, 0, 0), np.uint8)

    def add(self, row: int, column: int, labels: np.ndarray, samples: np.ndarray) -> None:
        """Takes a finished rectangle."""
        if not self.samples.size:
            self.samples = np.zeros((*self.size, samples.shape[2]), samples.dtype)
        y, x = -row % self.step, -column % self.step
        chosen = labels[y :: self.step, x :: self.step]
        top, left = (row + y) // self.step, (column + x) // self.step
        self.labels[top : top + chosen.shape[0], left : left + chosen.shape[1]] = np.minimum(chosen, 255)
        part = samples[y :: self.step, x :: self.step]
        self.samples[top : top + part.shape[0], left : left + part.shape[1]] = part
