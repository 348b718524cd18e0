"""Tiled TIFF files that are written piece by piece, in any order of tiles: rasters larger than memory.

Specifications: TIFF 6.0, BigTIFF, OGC GeoTIFF 1.1; the no-data value and the metadata are GDAL's tags.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import BinaryIO
from xml.sax.saxutils import escape

import numpy as np

from segkit.data.large.georeference import TAGS, Georeference
from segkit.files import DataError, shortened
from segkit.types import Color

TILE = 256
"""Side of a tile in pixels."""

CLASSIC_BYTES = (1 << 32) - (1 << 24)
"""A file that may become larger than this is a BigTIFF."""

BYTE, ASCII, SHORT, LONG, DOUBLE, LONG8 = 1, 2, 3, 4, 12, 16
"""Types of tags."""

LETTERS = {BYTE: "u1", ASCII: "u1", SHORT: "<u2", LONG: "<u4", DOUBLE: "<f8", LONG8: "<u8"}
NODATA, METADATA = 42113, 42112


class TiffWriter:
    """Writes a tiled TIFF from windows that come in any order and do not overlap.

    A tile is compressed and written when its last pixel has come; memory is that of the tiles that are begun.

    Args:
        file: open for writing, empty.
        size: (H, W) in pixels.
        dtype: of the samples, unsigned of 8 or 16 bits, or float32.
        samples: S.
        place: where the image lies.
        palette: colors of the values 0, 1, ...; only for one sample of 8 bits.
        nodata: value of pixels without data, None for none.
        names: of the values 0, 1, ..., written as GDAL's metadata class_0, class_1, ...
        compress: whether tiles are compressed with deflate.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        dtype: np.dtype,
        *,
        samples: int = 1,
        place: Georeference | None = None,
        palette: Sequence[Color] = (),
        nodata: int | None = None,
        names: Sequence[str] = (),
        compress: bool = True,
    ):
        self._file, self.size, self.dtype, self.samples = file, size, np.dtype(dtype), samples
        self._place, self._palette, self._nodata, self._names = place or Georeference(), palette, nodata, names
        self._compress = compress
        self._grid = -(-size[0] // TILE), -(-size[1] // TILE)
        # whole tiles are stored, and deflate adds little to what cannot be compressed
        most = self._grid[0] * self._grid[1] * (TILE * TILE * samples * self.dtype.itemsize + 64)
        self.is_big = most > CLASSIC_BYTES
        self._offsets = np.zeros(self._grid, np.uint64)
        self._counts = np.zeros(self._grid, np.uint64)
        self._open: dict[tuple[int, int], tuple[np.ndarray, int]] = {}
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if self.is_big else struct.pack("<2sHI", b"II", 42, 0))
        self._end = file.tell()

    def write(self, row0: int, col0: int, window: np.ndarray) -> None:
        """Takes a window.

        Args:
            row0, col0: of its upper left pixel.
            window: [h,w] or [h,w,S].
        """
        window = window.reshape(*window.shape[:2], self.samples)
        h, w = window.shape[:2]
        for i in range(row0 // TILE, -(-(row0 + h) // TILE)):
            for j in range(col0 // TILE, -(-(col0 + w) // TILE)):
                y0, x0 = max(row0, i * TILE), max(col0, j * TILE)
                y1, x1 = min(row0 + h, (i + 1) * TILE), min(col0 + w, (j + 1) * TILE)
                part = window[y0 - row0 : y1 - row0, x0 - col0 : x1 - col0]
                self._add(i, j, y0 - i * TILE, x0 - j * TILE, part)

    def _add(self, i: int, j: int, y: int, x: int, part: np.ndarray) -> None:
        blank = 0 if self._nodata is None else self._nodata
        tile, count = self._open.pop((i, j), (None, 0))
        if tile is None:
            tile = np.full((TILE, TILE, self.samples), blank, self.dtype)
        tile[y : y + part.shape[0], x : x + part.shape[1]] = part
        count += part.shape[0] * part.shape[1]
        inside = min(TILE, self.size[0] - i * TILE) * min(TILE, self.size[1] - j * TILE)
        if count < inside:
            self._open[i, j] = tile, count
            return
        content = tile.astype(self.dtype.newbyteorder("<")).tobytes()
        content = zlib.compress(content, 6) if self._compress else content
        self._offsets[i, j], self._counts[i, j] = self._end, len(content)
        self._file.write(content)
        self._end += len(content)

    def close(self) -> None:
        """Writes the tags, and ends the file; it stays open.

        Raises:
            DataError: a tile has not come as a whole.
        """
        if self._open or not self._counts.all():
            missing = int((self._counts == 0).sum())
            raise DataError(f"{missing} of {self._counts.size} tiles of the result are incomplete; predict it again")
        if self._end % 2:
            self._file.write(b"\0")
            self._end += 1
        entries = sorted(self._entries())
        number, wide = ("<Q", "<Q") if self.is_big else ("<H", "<I")
        inside, length = (8, 20) if self.is_big else (4, 12)
        after = self._end + struct.calcsize(number) + length * len(entries) + struct.calcsize(wide)
        rows, lists = b"", b""
        for tag, kind, content in entries:
            count = len(content) // np.dtype(LETTERS[kind]).itemsize
            if len(content) > inside:
                lists += b"\0" * (-(after + len(lists)) % 8)
                value = struct.pack(wide, after + len(lists))
                lists += content
            else:
                value = content.ljust(inside, b"\0")
            rows += struct.pack("<HH", tag, kind) + struct.pack(wide, count) + value
        self._file.write(struct.pack(number, len(entries)) + rows + struct.pack(wide, 0) + lists)
        self._file.seek(8 if self.is_big else 4)
        self._file.write(struct.pack(wide, self._end))
        self._file.flush()

    def _entries(self) -> list[tuple[int, int, bytes]]:
        """(number, type, content) of all tags."""
        wide = LONG8 if self.is_big else LONG
        format_ = 3 if self.dtype.kind == "f" else 1
        photometric = 3 if self._palette else 2 if self.samples == 3 else 1
        values: list[tuple[int, int, object]] = [
            *((256, LONG, self.size[1]), (257, LONG, self.size[0])),
            *((258, SHORT, [8 * self.dtype.itemsize] * self.samples), (259, SHORT, 8 if self._compress else 1)),
            *((262, SHORT, photometric), (277, SHORT, self.samples), (284, SHORT, 1)),
            *((322, LONG, TILE), (323, LONG, TILE), (339, SHORT, [format_] * self.samples)),
            *((324, wide, self._offsets), (325, wide, self._counts)),
        ]
        usual = 3 if photometric == 2 else 1
        if self.samples > usual:
            values.append((338, SHORT, [0] * (self.samples - usual)))
        if self._palette:
            colors = np.zeros((256, 3), np.uint16)
            colors[: len(self._palette)] = np.array(self._palette[:256]) * 257
            values.append((320, SHORT, colors.T))
        for name, content in self._place.tags.items():
            values.append((*TAGS[name], content))
        if self._nodata is not None:
            values.append((NODATA, ASCII, _text(str(self._nodata))))
        if self._names:  # GDAL undoes the escape twice
            items = "".join(
                f'  <Item name="class_{number}">{escape(escape(shortened(name, 200)))}</Item>\n'
                for number, name in enumerate(self._names)
            )
            values.append((METADATA, ASCII, _text(f"<GDALMetadata>\n{items}</GDALMetadata>")))
        return [(tag, kind, np.asarray(value).astype(LETTERS[kind]).tobytes()) for tag, kind, value in values]


def _text(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-8", "replace") + b"\0", np.uint8)
