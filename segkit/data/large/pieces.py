"""An image that lies in a folder in pieces, each named by its row and column."""

import os
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np

from segkit.data.files.headers import JPEG_START, PNG_START, TIFF_STARTS, picture_size
from segkit.data.files.images import AS_STORED, decode
from segkit.data.files.tiff import Stored, read_tiff
from segkit.data.large.png import read_png
from segkit.data.large.reader import WindowReader, plain_page
from segkit.files import DataError, open_regular, read_bytes

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")
HEAD = 1 << 18
"""Bytes of a file that hold its header."""

KEPT_BYTES = 1 << 27
"""Decoded pieces that are kept, in bytes."""

NAMES = (
    (re.compile(r"(?:row|r)[-_]?(\d+)[-_ ]*(?:column|col|c)[-_]?(\d+)", re.I), False),
    (re.compile(r"(?:column|col|c)[-_]?(\d+)[-_ ]*(?:row|r)[-_]?(\d+)", re.I), True),
    (re.compile(r"(?<![a-z])y[-_]?(\d+)[-_ ]*x[-_]?(\d+)", re.I), False),
    (re.compile(r"(?<![a-z])x[-_]?(\d+)[-_ ]*y[-_]?(\d+)", re.I), True),
    (re.compile(r"(\d+)[-_](\d+)$"), False),
)
"""How names tell row and column, and whether the column comes first."""

HELP = "pieces are named by row and column, as r0_c1, row0_col1, x256_y0 or NAME_0_1 (row, column)"


def position(name: str) -> tuple[int, int] | None:
    """Returns (row, column) that the name of a piece says, None where it says none."""
    for pattern, is_swapped in NAMES:
        found = list(pattern.finditer(name))
        if found:
            first, second = int(found[-1][1]), int(found[-1][2])
            return (second, first) if is_swapped else (first, second)
    return None


class Pieces(WindowReader):
    """Reads windows of an image in pieces.

    The numbers in the names count the pieces, from any number on, or are the pixels at which they begin. Pieces of one
    row have one height, those of one column one width.

    Args:
        folder: with the pieces, and no other images.

    Raises:
        DataError: a name says no place, two pieces have one place, one is missing or has another size.
    """

    def __init__(self, folder: str | Path):
        self.path = str(folder)
        files = sorted(name for name in os.listdir(folder) if name.lower().endswith(SUFFIXES) and name[0] != ".")
        if not files:
            raise DataError(f"{folder}: holds no pieces of an image; {HELP}")
        places: dict[tuple[int, int], str] = {}
        for name in files:
            place = position(os.path.splitext(name)[0])
            if place is None:
                raise DataError(f"{folder}/{name}: its name says no row and column; {HELP}")
            if place in places:
                raise DataError(
                    f"{folder}: {places[place]} and {name} are both in row {place[0]}, column {place[1]}; keep one "
                    "of them"
                )
            places[place] = name
        rows, columns = sorted({row for row, _ in places}), sorted({column for _, column in places})
        holes = [(row, column) for row in rows for column in columns if (row, column) not in places]
        if holes:
            raise DataError(
                f"{folder}: {len(holes)} of {len(rows) * len(columns)} pieces are missing, the first in row "
                f"{holes[0][0]}, column {holes[0][1]}; add them, or take the others out"
            )
        self._files = [[os.path.join(self.path, places[row, column]) for column in columns] for row in rows]
        self._heights = [_size(self._files[i][0])[0] for i in range(len(rows))]
        self._widths = [_size(file)[1] for file in self._files[0]]
        self._check_sizes()
        self._check_numbers(rows, self._heights, "row")
        self._check_numbers(columns, self._widths, "column")
        self._tops = np.concatenate([[0], np.cumsum(self._heights)]).tolist()
        self._lefts = np.concatenate([[0], np.cumsum(self._widths)]).tolist()
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._first = read_stored(self._files[0][0]).page
        self.page = self._first._replace(height=self._tops[-1], width=self._lefts[-1], tags={})

    def _check_sizes(self) -> None:
        for i, files in enumerate(self._files):
            for j, file in enumerate(files):
                height, width = _size(file)
                if (height, width) != (self._heights[i], self._widths[j]):
                    raise DataError(
                        f"{file}: {width}x{height} pixels where its row and column have {self._widths[j]}x"
                        f"{self._heights[i]}; cut the image again"
                    )

    def _check_numbers(self, numbers: list[int], lengths: list[int], what: str) -> None:
        """Checks that numbers count the pieces, or are the pixels at which they begin."""
        counted = list(range(numbers[0], numbers[0] + len(numbers)))
        starts = (np.cumsum([0, *lengths[:-1]]) + numbers[0]).tolist()
        if numbers in (counted, starts):
            return
        k = next(i for i in range(1, len(numbers)) if numbers[i] != starts[i] and numbers[i] != counted[i])
        gap = numbers[k] - numbers[k - 1]
        if 1 < gap < lengths[k - 1]:
            trouble = f"pieces of {lengths[k - 1]} pixels overlap"
        else:
            trouble = "pieces are missing between them"
        raise DataError(
            f"{self.path}: {what} {numbers[k - 1]} is followed by {what} {numbers[k]}: {trouble}; cut the image again "
            "without overlap and without holes"
        )

    def _read(self, row0: int, col0: int, h: int, w: int) -> np.ndarray:
        window = np.empty((h, w, self.channels), self.dtype)
        for i in range(len(self._heights)):
            y0, y1 = max(row0, self._tops[i]), min(row0 + h, self._tops[i + 1])
            for j in range(len(self._widths)) if y0 < y1 else ():
                x0, x1 = max(col0, self._lefts[j]), min(col0 + w, self._lefts[j + 1])
                if x0 < x1:
                    top, left = self._tops[i], self._lefts[j]
                    part = self._piece(i, j)[y0 - top : y1 - top, x0 - left : x1 - left]
                    window[y0 - row0 : y1 - row0, x0 - col0 : x1 - col0] = part
        return window

    def _piece(self, i: int, j: int) -> np.ndarray:
        if (i, j) not in self._kept:
            samples, page = read_stored(self._files[i][j])
            first = self._first
            kind = (page.samples, page.bits, page.format, page.photometric)
            if kind != (first.samples, first.bits, first.format, first.photometric):
                raise DataError(
                    f"{self._files[i][j]}: {page.samples} bands of {page.bits} bits where {self._files[0][0]} has "
                    f"{first.samples} of {first.bits}; export all pieces in one way"
                )
            self._kept[i, j] = samples
            while sum(piece.nbytes for piece in self._kept.values()) > KEPT_BYTES and len(self._kept) > 1:
                self._kept.popitem(last=False)
        self._kept.move_to_end((i, j))
        return self._kept[i, j]


def _size(file: str) -> tuple[int, int]:
    """(H, W) of a file by its header; TIFF keeps its own anywhere in the file."""
    with open_regular(file) as opened:
        head = opened.read(HEAD)
    size = picture_size(read_bytes(file) if head.startswith(TIFF_STARTS) else head)
    if size is None:
        raise DataError(f"{file}: cannot be decoded: a damaged file, or no image; copy it again")
    return size


def read_stored(path: str | Path) -> Stored:
    """Reads a whole picture file as the samples that are stored in it.

    Args:
        path: the file.

    Raises:
        DataError: it cannot be decoded.
    """
    with open_regular(path) as file:
        head = file.read(8)
    if head.startswith(PNG_START):
        return read_png(path)
    content = read_bytes(path)
    if content.startswith(TIFF_STARTS):
        return read_tiff(content, path)
    image = decode(content, AS_STORED, path)
    image = image[:, :, None] if image.ndim == 2 else image[:, :, [2, 1, 0, 3][: image.shape[2]]]
    page = plain_page(image.shape[:2], image.shape[2], image.dtype, alpha=int(image.shape[2] == 4))
    return Stored(image, page._replace(is_lossy=content.startswith(JPEG_START)))
