"""The strips and tiles of a TIFF: decompression, predictors and packed bits.

LZW, PackBits, Zstandard and fax are decoded by libtiff, which Pillow has built in. It sees each strip as rows of plain
bytes, so that its own idea of colors, alpha and planes never applies.
"""

import io
import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from segkit.data.files.headers import picture_size
from segkit.files import DataError, shortened

RAW, LZW, JPEG, DEFLATE, PACKBITS, LZMA, ZSTD = 1, 5, 7, 8, 32773, 34925, 50000
FAX = (2, 3, 4)
"""Values of Compression: CCITT's modified Huffman, group 3 and group 4."""

WITH_PREDICTOR = (LZW, DEFLATE, 32946, LZMA, ZSTD)
"""Compressions after which tag Predictor counts."""

COMPRESSION_NAMES = {
    6: "old-style JPEG",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34712: "JPEG 2000",
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    34676: "SGILog",
    34677: "SGILog",
}

REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
"""Each byte with its bits in reverse order."""

SPARE = 16
"""Pixels by which a JPEG may be larger than its strip or tile: encoders fill up their blocks."""


class Coding(NamedTuple):
    """How the strips or tiles of a page, or of one of its planes, are coded.

    Attributes:
        compression: RAW, LZW, JPEG ...
        predictor: 1 none, 2 differences, 3 differences of bytes of floating-point values.
        chunk: (rows, columns) of a full strip or tile.
        samples: of each pixel in it.
        bits: of a sample.
        dtype: of decoded samples.
        order: "<" or ">", of samples of several bytes.
        is_reversed: whether the bits of each byte are in reverse order.
        is_ycbcr: whether a JPEG holds YCbCr, which becomes RGB.
        jpeg_tables: what all JPEGs of the page share.
        fax_options: T4Options.
        path: for errors.
    """

    compression: int
    predictor: int
    chunk: tuple[int, int]
    samples: int
    bits: int
    dtype: np.dtype
    order: Literal["<", ">"]
    is_reversed: bool
    is_ycbcr: bool
    jpeg_tables: bytes
    fax_options: int
    path: str | Path

    @property
    def row_bytes(self) -> int:
        """Bytes of a row of pixels."""
        return -(-self.chunk[1] * self.samples * self.bits // 8)


def decode_chunks(pieces: Sequence[bytes | None], rows: Sequence[int], coding: Coding) -> Iterator[np.ndarray | None]:
    """Decodes strips or tiles.

    Args:
        pieces: the bytes of each, None for one that is left out.
        rows: of pixels in each; all but the last have equally many.
        coding: of all of them.

    Yields:
        [rows,columns,samples] of each, None for one that is left out.

    Raises:
        DataError: they are damaged, or the compression is not known.
    """
    if coding.is_reversed and coding.compression != JPEG:
        pieces = [None if piece is None else piece.translate(REVERSED) for piece in pieces]
    if coding.compression == JPEG:
        for piece, count in zip(pieces, rows):
            yield None if piece is None else _jpeg(piece, count, coding)
        return
    if coding.compression in FAX:
        for piece, count in zip(pieces, rows):
            yield None if piece is None else _fax(piece, count, coding)
        return
    for data, count in zip(_inflated(pieces, rows, coding), rows):
        yield None if data is None else _samples(data, count, coding)


def _inflated(
    pieces: Sequence[bytes | None], rows: Sequence[int], coding: Coding
) -> Iterator[bytes | memoryview | None]:
    """The uncompressed bytes of each piece."""
    if coding.compression in (LZW, PACKBITS, ZSTD):
        yield from _by_libtiff(pieces, rows, coding)
        return
    for piece, count in zip(pieces, rows):
        size = count * coding.row_bytes
        if piece is None or coding.compression == RAW:
            data = piece
        elif coding.compression in (DEFLATE, LZMA):
            try:
                if coding.compression == DEFLATE:
                    data = zlib.decompressobj().decompress(piece, size)
                else:
                    data = lzma.LZMADecompressor().decompress(piece, size)
            except (zlib.error, lzma.LZMAError, EOFError) as error:
                raise damaged(coding.path, shortened(error, 100)) from error
        else:
            name = COMPRESSION_NAMES.get(coding.compression, f"of number {coding.compression}")
            raise DataError(
                f"{coding.path}: the compression {name} is not read in TIFF; export it with deflate or LZW "
                "(gdal_translate -co COMPRESS=DEFLATE), or save it as .npy"
            )
        if data is not None and len(data) < size:
            raise damaged(coding.path, f"a strip or tile holds {len(data)} of {size} bytes")
        yield data


def damaged(path: str | Path, reason: str) -> DataError:
    """Builds the error for a damaged file."""
    return DataError(f"{path}: cannot be decoded as TIFF: {reason}; copy the file again, or export it again")


def _by_libtiff(pieces: Sequence[bytes | None], rows: Sequence[int], coding: Coding) -> Iterator[memoryview | None]:
    present = [(piece, count) for piece, count in zip(pieces, rows) if piece is not None]
    if not present:
        yield from (None for _ in pieces)
        return
    plain = _plain_tiff(
        [piece for piece, _ in present],
        coding.row_bytes,
        coding.chunk[0],
        sum(n for _, n in present),
        coding.compression,
    )
    data = memoryview(_opened(plain, coding.path).tobytes())
    start = 0
    for piece, count in zip(pieces, rows):
        if piece is None:
            yield None
        else:
            yield data[start : start + count * coding.row_bytes]
            start += count * coding.row_bytes


def _plain_tiff(
    pieces: Sequence[bytes], width: int, rows: int, height: int, compression: int, bits: int = 8, fax_options: int = 0
) -> bytes:
    """A TIFF of one grey page whose strips are these, in little-endian order."""
    offsets, start = [], 8
    for piece in pieces:
        offsets.append(start)
        start += len(piece)
    start += start % 2
    count = len(pieces)
    entries = [(256, [width]), (257, [height]), (258, [bits]), (259, [compression]), (262, [1]), (273, offsets)]
    entries += [(277, [1]), (278, [min(rows, height)]), (279, [len(piece) for piece in pieces])]
    entries += [(292, [fax_options])] if compression == 3 else []
    after = start + 2 + 12 * len(entries) + 4
    directory, lists = struct.pack("<H", len(entries)), b""
    for tag, values in entries:
        if len(values) == 1:
            directory += struct.pack("<HHII", tag, 4, 1, values[0])
        else:
            directory += struct.pack("<HHII", tag, 4, count, after + len(lists))
            lists += struct.pack(f"<{count}I", *values)
    head = b"II*\0" + struct.pack("<I", start)
    body = b"".join(pieces)
    return head + body + b"\0" * (start - 8 - len(body)) + directory + b"\0" * 4 + lists


def _opened(content: bytes, path: str | Path) -> np.ndarray:
    """The array of a TIFF of _plain_tiff."""
    from PIL.TiffImagePlugin import TiffImageFile

    try:
        return np.asarray(TiffImageFile(io.BytesIO(content)))
    except Exception as error:  # damaged data raises nearly any exception
        raise damaged(path, shortened(error, 100)) from error


def _fax(piece: bytes, rows: int, coding: Coding) -> np.ndarray:
    plain = _plain_tiff([piece], coding.chunk[1], rows, rows, coding.compression, 1, coding.fax_options)
    return _opened(plain, coding.path).astype(np.uint8).reshape(rows, coding.chunk[1], 1)


def _samples(data: bytes | memoryview, rows: int, coding: Coding) -> np.ndarray:
    """Bytes as samples [rows,columns,samples], the predictor undone."""
    width = coding.chunk[1] * coding.samples
    data = memoryview(data)[: rows * coding.row_bytes]
    shape = (rows, coding.chunk[1], coding.samples)
    if coding.bits not in (8, 16, 32, 64):
        return _unpacked(np.frombuffer(data, np.uint8).reshape(rows, -1), width, coding.bits).reshape(shape)
    if coding.predictor == 3:
        return _float_differences(np.frombuffer(data, np.uint8).reshape(rows, -1), coding).reshape(shape)
    array = np.frombuffer(data, coding.dtype.newbyteorder(coding.order)).reshape(shape)
    if coding.predictor == 2:
        numbers = array.astype(coding.dtype).view(f"u{coding.dtype.itemsize}")
        return np.cumsum(numbers, axis=1, dtype=numbers.dtype).view(coding.dtype)
    return array


def _unpacked(rows: np.ndarray, width: int, bits: int) -> np.ndarray:
    """Numbers of a few bits [rows,width] out of packed bytes, the highest bit first whatever the byte order."""
    single = np.unpackbits(rows, axis=1)[:, : width * bits].reshape(len(rows), width, bits)
    numbers = np.zeros(single.shape[:2], np.uint8 if bits <= 8 else np.uint16)
    for bit in range(bits):
        numbers = numbers << 1 | single[:, :, bit]
    return numbers


def _float_differences(rows: np.ndarray, coding: Coding) -> np.ndarray:
    """Floating-point values whose bytes are stored apart, highest first, as differences (Adobe's Technote 3)."""
    numbers = np.cumsum(rows.reshape(len(rows), -1, coding.samples), axis=1, dtype=np.uint8).reshape(
        len(rows), coding.dtype.itemsize, -1
    )
    return np.ascontiguousarray(numbers.transpose(0, 2, 1)).view(coding.dtype.newbyteorder(">")).astype(coding.dtype)


def _jpeg(piece: bytes, rows: int, coding: Coding) -> np.ndarray:
    """A JPEG without its tables, its colors stated as the page has them: [rows,columns,samples]."""
    from PIL.JpegImagePlugin import JpegImageFile

    height, width = picture_size(piece) or (0, 0)
    if not rows <= height <= coding.chunk[0] + SPARE or not coding.chunk[1] <= width <= coding.chunk[1] + SPARE:
        raise damaged(coding.path, f"a JPEG of {width}x{height} pixels in a piece of {coding.chunk[1]}x{rows}")
    # Adobe's marker is what decoders believe; without it they guess the kind of colors
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([coding.is_ycbcr])
    tables = coding.jpeg_tables
    shared = tables[2:-2] if tables.startswith(b"\xff\xd8") and tables.endswith(b"\xff\xd9") else b""
    stream = b"\xff\xd8" + adobe + shared + _without_claims(piece[2:])
    try:
        image = JpegImageFile(io.BytesIO(stream))
        array = np.asarray(image)
    except Exception as error:  # damaged data raises nearly any exception
        raise damaged(coding.path, shortened(error, 100)) from error
    if image.mode == "CMYK":
        array = 255 - array  # Pillow takes every JPEG of four bands for inverted inks
    array = array.reshape(height, width, -1)[:rows, : coding.chunk[1]]
    if array.shape[2] != coding.samples:
        raise damaged(coding.path, f"a JPEG of {array.shape[2]} bands in a page of {coding.samples}")
    return array


def _without_claims(stream: bytes) -> bytes:
    """Removes the segments APP0 and APP14, which claim a kind of colors, before the first scan."""
    kept, at = b"", 0
    while at + 4 <= len(stream) and stream[at] == 0xFF and stream[at + 1] != 0xDA:
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        if stream[at + 1] not in (0xE0, 0xEE):
            kept += stream[at:end]
        at = end
    return kept + stream[at:]
