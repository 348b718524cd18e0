"""A large image with its labels: windows of both, and where its labelled pixels lie."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from segkit.data.dataset import Reading, without_missing
from segkit.data.files.labels import LabelTable
from segkit.data.files.tiff import Stored
from segkit.data.files.tiff_colors import without_alpha
from segkit.data.large.georeference import differences
from segkit.data.large.open_large import open_large
from segkit.data.large.reader import WindowReader
from segkit.data.large.vectors import Polygons
from segkit.files import DataError
from segkit.types import IGNORE

CELL = 64
"""Side in pixels of the cells in which labelled pixels are counted."""

VECTORS = (".geojson", ".json")
"""Suffixes of labels that are polygons."""


class WindowedImage:
    """Windows of an image and of its labels. Files are opened anew in each process that reads.

    Args:
        image: file or folder of pieces.
        labels: a raster of the image's size and place, or a GeoJSON file.
        channels: of the image.
        reading: how windows are read; nodata None for what the file states, and scale without percentiles.
        table_of: gives the table of labels, told which raw labels mean no data.
        polygons: key of the class in GeoJSON, function from its value to a label, and the label of the rest.
    """

    def __init__(
        self,
        image: str,
        labels: str,
        *,
        channels: int,
        reading: Reading,
        table_of: Callable[[Sequence[int]], LabelTable],
        polygons: tuple[str, Callable[[object, str], int], int],
    ):
        self.path, self.mask_path, self.channels, self._reading = image, labels, channels, reading
        self._table_of, self._polygons = table_of, polygons
        self._process = -1
        self.size = self._image_reader().size
        self.notes: tuple[str, ...] = self._check()
        self.close()

    def __getstate__(self) -> dict:
        return {key: value for key, value in vars(self).items() if key not in ("_opened", "_labels", "_drawn")} | {
            "_process": -1
        }

    def _open(self) -> None:
        """Opens the files in this process: one that is forked would move the position of its parent."""
        if self._process == os.getpid():
            return
        self._opened = open_large(self.path)
        self._labels: WindowReader | None = None
        self._drawn: Polygons | None = None
        if Path(self.mask_path).suffix.lower() in VECTORS:
            key, class_of, _ = self._polygons
            self._drawn = Polygons(
                self.mask_path, self._opened.place, self._opened.size, key=key, class_of=class_of, image=self.path
            )
        else:
            self._labels = open_large(self.mask_path)
        self._process = os.getpid()

    def _image_reader(self) -> WindowReader:
        self._open()
        return self._opened

    def close(self) -> None:
        """Closes the files, which the next window opens again."""
        if self._process == os.getpid():
            self._opened.close()
            if self._labels is not None:
                self._labels.close()
        self._process = -1

    def _check(self) -> tuple[str, ...]:
        """Checks that image and labels fit; returns what the user should know."""
        image, labels = self._image_reader(), self._labels
        height, width = image.size
        nothing = np.zeros((0, 0, image.channels), image.dtype)
        image.image(nothing, self.channels, self._reading)  # it has the right channels
        if labels is None:
            assert self._drawn is not None
            count = self._drawn.outside
            return (f"{self.mask_path}: {count} polygons lie outside of {self.path}",) if count else ()
        if labels.size != image.size:
            raise DataError(
                f"{self.mask_path}: labels of {labels.size[1]}x{labels.size[0]} pixels for an image of {width}x"
                f"{height} ({self.path}); export them at the image's size and place (gdalwarp -tr -te, gdal_rasterize)"
            )
        if text := differences(labels.place, image.place, image.size):
            raise DataError(
                f"{self.mask_path}: {text} ({self.path}); export the labels at the image's place (gdalwarp -tr -te)"
            )
        if labels.page.is_lossy or labels.dtype.kind not in "ui" or labels.channels - labels.page.num_alpha != 1:
            kind = "JPEG, which alters labels" if labels.page.is_lossy else f"{labels.channels} bands of {labels.dtype}"
            raise DataError(f"{self.mask_path}: labels in {kind}; export one band of whole numbers, without loss")
        if labels.nodata is not None:
            value = f"{labels.nodata:g}"
            return (
                f"{self.mask_path}: states {value} as no data, which is ignored; label_map={{{value}: ...}} keeps it",
            )
        return ()

    def image(self, row: int, column: int, h: int, w: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Reads a window of the image.

        Returns:
            uint8 or float32 [h,w,C], pixels without data filled with the mean of the window's others; and bool [h,w] of
            these pixels, None for none.
        """
        reader = self._image_reader()
        reading = self._reading_of(reader)
        image = reader.image(reader.read(row, column, h, w), self.channels, reading)
        source = f"{self.path} (window at row {row}, column {column})"
        return without_missing(image, reading.nodata, source, is_marked=True)

    def _reading_of(self, reader: WindowReader) -> Reading:
        return self._reading._replace(nodata=reader.missing_value(self._reading.nodata, self.channels))

    def labels(self, row: int, column: int, h: int, w: int) -> np.ndarray:
        """Reads a window of the labels, uint8 [h,w] of classes and IGNORE, whatever the image holds there."""
        self._open()
        if self._drawn is not None:
            return self._drawn.draw(row, column, h, w, self._polygons[2])
        assert self._labels is not None
        reader = self._labels
        samples = reader.read(row, column, h, w)
        missing = [] if reader.nodata is None or reader.nodata != int(reader.nodata) else [int(reader.nodata)]
        raw = without_alpha(Stored(samples, reader.page), (1,))[:, :, 0]
        return self._table_of(missing).apply(raw, f"{self.mask_path} (window at row {row}, column {column})")

    def seen_labels(self, row: int, column: int, h: int, w: int) -> np.ndarray:
        """Reads a window of the labels, ignored where the image has no data."""
        labels = self.labels(row, column, h, w)
        reader = self._image_reader()
        reading = self._reading_of(reader)
        if reading.nodata is None:
            return labels
        image = reader.image(reader.read(row, column, h, w), self.channels, reading)
        is_missing = without_missing(image, reading.nodata, self.path, is_marked=True)[1]
        return labels if is_missing is None else np.where(is_missing, np.uint8(IGNORE), labels)

    def count(self, num_classes: int) -> np.ndarray:
        """Counts the labelled pixels of each class in cells of CELL x CELL pixels.

        Returns:
            uint16 [rows of cells, columns of cells, K].
        """
        height, width = self.size
        counts = np.zeros((-(-height // CELL), -(-width // CELL), num_classes), np.uint16)
        for i, (row, rows) in enumerate(_steps(height, CELL)):
            labels = self.seen_labels(row, 0, rows, width)
            cells = np.broadcast_to(np.arange(width) // CELL, labels.shape)
            is_labelled = labels < num_classes
            flat = cells[is_labelled] * num_classes + labels[is_labelled]
            of_row = np.bincount(flat, minlength=counts.shape[1] * num_classes)
            counts[i] = of_row.reshape(counts.shape[1], num_classes)
        return counts

    def has_labels(self, counts: np.ndarray, row: int, column: int, h: int, w: int) -> bool:
        """Whether a window holds a labelled pixel.

        Args:
            counts: of `count`.
            row, column, h, w: of the window.
        """
        rows, columns = slice(row // CELL, -(-(row + h) // CELL)), slice(column // CELL, -(-(column + w) // CELL))
        if not counts[rows, columns].any():
            return False
        inner = slice(-(-row // CELL), (row + h) // CELL), slice(-(-column // CELL), (column + w) // CELL)
        if counts[inner].any():
            return True
        return bool((self.seen_labels(row, column, h, w) != IGNORE).any())


def _steps(length: int, step: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, step):
        yield start, min(step, length - start)
