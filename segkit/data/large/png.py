"""PNG files of any size as rows that come one after the other: memory is that of a few rows.

Specification: PNG, third edition (W3C). zlib unpacks the rows; libpng, in OpenCV, undoes their filters: it is given
a small PNG of a few rows below the last row that is known already.
"""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np

from segkit.data.files.headers import PNG_START
from segkit.data.files.tiff import MIN_IS_BLACK, PALETTE, RGB, Page, Stored
from segkit.data.large.reader import plain_page
from segkit.files import DataError, open_regular, shortened

SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Samples of a pixel by the kind of colors."""

WIDEST = 1_000_000
"""Bytes, or pixels of several bytes, of a row at most."""

STEP = 1 << 20
"""Bytes of the file, and unpacked bytes, that are held at once; one row at least."""

FORMS = {1: (8, 0), 2: (16, 0), 3: (8, 2), 4: (8, 6), 6: (16, 2), 8: (16, 6)}
"""Bits and kind of colors of a PNG whose filters are those of pixels of so many bytes."""


class Header(NamedTuple):
    """What a PNG states before its pixels.

    bits: of a sample; kind: of colors; palette: uint8 [n,3], None without one.
    """

    height: int
    width: int
    bits: int
    kind: int
    palette: np.ndarray | None

    @property
    def row_bytes(self) -> int:
        """Bytes of a row without the number of its filter."""
        return -(-self.width * SAMPLES[self.kind] * self.bits // 8)

    @property
    def pixel_bytes(self) -> int:
        """Bytes that filters look back."""
        return max(1, SAMPLES[self.kind] * self.bits // 8)

    @property
    def page(self) -> Page:
        """The samples, described as those of a TIFF."""
        dtype = np.dtype(np.uint16 if self.bits == 16 else np.uint8)
        samples = SAMPLES[self.kind]
        page = plain_page((self.height, self.width), samples, dtype, alpha=int(self.kind >= 4))
        if self.palette is None:
            return page._replace(bits=self.bits, photometric=RGB if self.kind in (2, 6) else MIN_IS_BLACK)
        colormap = np.zeros((3, 1 << self.bits), np.uint8)
        colormap[:, : len(self.palette)] = self.palette.T[:, : 1 << self.bits]
        return page._replace(bits=self.bits, photometric=PALETTE, colormap=colormap)


def read_header(file: BinaryIO, path: str | Path) -> Header:
    """Reads what stands before the pixels, and leaves the file there.

    Args:
        file: open at its beginning.
        path: for the error.

    Raises:
        DataError: the file is damaged, or interlaced.
    """
    if file.read(8) != PNG_START:
        raise DataError(f"{path}: no PNG; name the file by its format")
    header, palette = b"", None
    while True:
        length, kind = _chunk(file, path)
        if kind == b"IDAT":
            file.seek(-8, 1)
            break
        if kind in (b"IHDR", b"PLTE"):
            content = file.read(min(length, 1024))
            header, palette = (content, palette) if kind == b"IHDR" else (header, content)
            file.seek(max(length - 1024, 0) + 4, 1)
        else:
            file.seek(length + 4, 1)
    if len(header) < 13:
        raise DataError(f"{path}: cannot be decoded as PNG: its header is incomplete; copy it again")
    width, height, bits, color, _, _, interlaced = struct.unpack(">IIBBBBB", header[:13])
    if (
        not width
        or not height
        or color not in SAMPLES
        or bits not in (1, 2, 4, 8, 16)
        or (bits < 8 and color % 4 > 1 and color != 3)
    ):
        raise DataError(f"{path}: cannot be decoded as PNG: its header is damaged; copy it again")
    if interlaced:
        raise DataError(
            f"{path}: an interlaced PNG, whose rows do not come in order; save it without interlacing, or as a "
            "tiled TIFF"
        )
    if color == 3 and not palette:
        raise DataError(f"{path}: cannot be decoded as PNG: its palette is missing; copy it again")
    colors = None
    if color == 3 and palette is not None:
        colors = np.frombuffer(palette[: len(palette) // 3 * 3], np.uint8).reshape(-1, 3)
    found = Header(height, width, bits, color, colors)
    if found.row_bytes // found.pixel_bytes > WIDEST:
        raise DataError(
            f"{path}: rows of {width:,} pixels, more than {WIDEST:,}; cut it into pieces, or save it as TIFF"
        )
    return found


def _chunk(file: BinaryIO, path: str | Path) -> tuple[int, bytes]:
    head = file.read(8)
    if len(head) < 8:
        raise DataError(f"{path}: the file breaks off after {file.tell()} bytes; copy or download it again")
    length, kind = struct.unpack(">I4s", head)
    return length, kind


def bands(path: str | Path) -> Iterator[np.ndarray]:
    """Decodes a PNG from top to bottom.

    Args:
        path: the file.

    Yields:
        [rows,W,S] of a few rows each, as stored: indices of palettes, uint8 of up to 8 bits, else uint16.

    Raises:
        DataError: the file is damaged or interlaced.
    """
    with open_regular(path) as file:
        header = read_header(file, path)
        last: np.ndarray | None = None
        for lines in _lines(file, header, path):
            raw = _unfiltered(lines, last, header, path)
            last = raw[-1]
            yield _samples(raw, header)


def read_png(path: str | Path) -> Stored:
    """Decodes a PNG as a whole, see `bands`."""
    with open_regular(path) as file:
        page = read_header(file, path).page
    return Stored(np.concatenate(list(bands(path))), page)


def _lines(file: BinaryIO, header: Header, path: str | Path) -> Iterator[np.ndarray]:
    """uint8 [rows, 1 + row_bytes] of each few rows, as unpacked."""
    size = 1 + header.row_bytes
    rows = max(1, STEP // size)
    unpacker, waiting, left = zlib.decompressobj(), bytearray(), header.height
    for packed in _packed(file, path):
        while packed and left:
            try:
                waiting += unpacker.decompress(packed, max(rows * size - len(waiting), 1))
            except zlib.error as error:
                raise DataError(
                    f"{path}: cannot be decoded as PNG ({shortened(error, 100)}); copy it again, or export it again"
                ) from error
            packed = unpacker.unconsumed_tail
            count = min(len(waiting) // size, left)
            if count == min(rows, left) and count:
                yield np.frombuffer(bytes(waiting[: count * size]), np.uint8).reshape(count, size)
                del waiting[: count * size]
                left -= count
        if not left:
            return
    raise DataError(f"{path}: holds {header.height - left:,} of {header.height:,} rows; copy or download it again")


def _packed(file: BinaryIO, path: str | Path) -> Iterator[bytes]:
    """The content of the chunks of pixels, in pieces of bounded size."""
    while True:
        length, kind = _chunk(file, path)
        if kind == b"IEND":
            return
        if kind != b"IDAT":
            file.seek(length + 4, 1)
            continue
        while length:
            content = file.read(min(length, STEP))
            if not content:
                raise DataError(f"{path}: the file breaks off after {file.tell()} bytes; copy or download it again")
            length -= len(content)
            yield content
        file.seek(4, 1)


def _unfiltered(lines: np.ndarray, last: np.ndarray | None, header: Header, path: str | Path) -> np.ndarray:
    """uint8 [rows, row_bytes] without the filters; `last` is the row above, None for the first."""
    bits, kind = FORMS[header.pixel_bytes]
    above = np.zeros(header.row_bytes, np.uint8) if last is None else last
    content = b"\0" + above.tobytes() + lines.tobytes()
    width = header.row_bytes // header.pixel_bytes
    head = struct.pack(">IIBBBBB", width, len(lines) + 1, bits, kind, 0, 0, 0)
    small = PNG_START + _written(b"IHDR", head) + _written(b"IDAT", zlib.compress(content, 0)) + _written(b"IEND", b"")
    image = cv2.imdecode(np.frombuffer(small, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or lines[:, 0].max() > 4:
        raise DataError(f"{path}: cannot be decoded as PNG: a damaged row; copy it again, or export it again")
    image = image.reshape(len(lines) + 1, width, -1)
    if image.shape[2] > 1:
        image = image[:, :, [2, 1, 0, 3][: image.shape[2]]]
    image = image.astype(">u2") if bits == 16 else image
    return np.ascontiguousarray(image).view(np.uint8).reshape(len(lines) + 1, header.row_bytes)[1:]


def _written(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _samples(raw: np.ndarray, header: Header) -> np.ndarray:
    shape = (len(raw), header.width, SAMPLES[header.kind])
    if header.bits == 16:
        return raw.view(">u2").astype(np.uint16).reshape(shape)
    if header.bits == 8:
        return raw.reshape(shape)
    single = np.unpackbits(raw, axis=1).reshape(len(raw), -1, header.bits)[:, : header.width]
    weights = (1 << np.arange(header.bits - 1, -1, -1)).astype(np.uint8)
    return (single * weights).sum(2, dtype=np.uint8).reshape(shape)
