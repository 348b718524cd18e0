"""Slices of NIfTI volumes (.nii, .nii.gz), read without the rest of the volume.

Formats: https://nifti.nimh.nih.gov/nifti-1 (nifti1.h), https://nifti.nimh.nih.gov/nifti-2 (nifti2.h). The voxels lie in
the file along x, then y, z and t, so that a slice is one piece; of packed files what lies before it is unpacked and let
go.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from segkit.files import MAX_BYTES, MAX_PIXELS, DataError, brief, limit, open_regular

SUFFIXES = (".nii.gz", ".nii")


class Layout(NamedTuple):
    """Where a version of the header keeps what is read of it: bytes and, for struct, kinds of numbers.

    Attributes:
        length: of the header, which is its first number.
        magic: (byte, bytes) that name the version of a file in one piece.
        axes: eight numbers: how many axes, and their lengths.
        type: datatype and bits.
        start: byte of the first voxel.
        scale: slope and intercept.
    """

    length: int
    magic: tuple[int, bytes]
    axes: tuple[int, str]
    type: tuple[int, str]
    start: tuple[int, str]
    scale: tuple[int, str]


LAYOUTS = (
    Layout(348, (344, b"n+1\0"), (40, "8h"), (70, "hh"), (108, "f"), (112, "2f")),
    Layout(540, (4, b"n+2\0\r\n\x1a\n"), (16, "8q"), (12, "hh"), (168, "q"), (176, "2d")),
)
PIECE = 1 << 20
"""Bytes that are read or unpacked at once."""

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""Kinds of numbers by the header's datatype."""


class Volume(NamedTuple):
    """What the header of a volume says.

    Attributes:
        path: the file.
        size: (H, W) of a slice: the y and x axis.
        slices: along z.
        channels: along the fourth axis.
        dtype: of the stored numbers.
        start: byte of the first voxel.
        slope, intercept: a value is slope x stored number + intercept; (1, 0) where the file has none.
    """

    path: Path
    size: tuple[int, int]
    slices: int
    channels: int
    dtype: np.dtype
    start: int
    slope: float
    intercept: float


def read_volume(path: Path) -> Volume:
    """Reads the header of a NIfTI file.

    Args:
        path: .nii, or .nii.gz.

    Raises:
        DataError: it is damaged, no single NIfTI file, of colors or complex numbers, or too large.
    """
    head = _bytes_at(path, 0, LAYOUTS[0].length)
    found = [(layout, order) for layout in LAYOUTS for order in "<>" if _is(layout, order, head)]
    if not found:
        raise DataError(f"{path}: no NIfTI file in one piece; save it as .nii.gz by nibabel or ITK")
    layout, order = found[0]

    def numbers(place: tuple[int, str]) -> tuple:
        return struct.unpack_from(order + place[1], head, place[0])

    axes, (code, bits) = numbers(layout.axes), numbers(layout.type)
    (start,), (slope, intercept) = numbers(layout.start), numbers(layout.scale)
    sides = [*axes[1 : 1 + max(0, min(axes[0], 7))], 1, 1, 1, 1][:7]
    if not 2 <= axes[0] <= 7 or min(sides) < 1 or max(sides[4:], default=1) > 1:
        raise DataError(f"{path}: axes of {brief(axes)}; volumes of 2 to 4 axes are read, x y z and channels")
    if code not in TYPES or np.dtype(TYPES[code]).itemsize * 8 != bits:
        raise DataError(f"{path}: numbers of type {code} with {bits} bits; save it with whole or floating numbers")
    width, height, slices, channels = sides[:4]
    dtype = np.dtype(order + TYPES[code])
    total = height * width * slices * channels * dtype.itemsize
    if not layout.length <= start < 1 << 20:
        raise DataError(f"{path}: voxels from byte {start}, which is none; copy the file again")
    if height * width > limit(MAX_PIXELS) or total > limit(MAX_BYTES):
        raise DataError(
            f"{path}: {width} x {height} x {slices} x {channels} voxels, {total:,} bytes, of at most "
            f"{limit(MAX_BYTES):,} ({MAX_BYTES[0]})"
        )
    is_scaled = bool(np.isfinite([slope, intercept]).all() and slope != 0)
    scale = (float(slope), float(intercept)) if is_scaled else (1.0, 0.0)
    return Volume(path, (height, width), slices, channels, dtype, int(start), *scale)


def _is(layout: Layout, order: str, head: bytes) -> bool:
    """Whether a header is of this version and byte order."""
    at, magic = layout.magic
    length = struct.unpack_from(f"{order}i", head)[0]
    return length == layout.length and head[at : at + len(magic)] == magic


def read_slice(volume: Volume, index: int, channel: int = 0) -> np.ndarray:
    """Reads a slice across z, as it is stored: no axis is turned.

    Args:
        volume: of read_volume.
        index: of the slice.
        channel: along the fourth axis.

    Returns:
        [H,W]: the stored numbers, or float32 where the file scales them.

    Raises:
        DataError: the file breaks off.
    """
    height, width = volume.size
    length = height * width * volume.dtype.itemsize
    position = volume.start + (channel * volume.slices + index) * length
    values = np.frombuffer(_bytes_at(volume.path, position, length), volume.dtype).reshape(height, width)
    if (volume.slope, volume.intercept) != (1, 0):
        return (values * volume.slope + volume.intercept).astype(np.float32)
    return values.astype(volume.dtype.newbyteorder("="))


def _bytes_at(path: Path, position: int, length: int) -> bytes:
    """A piece of a file, or of what a packed file unfolds to."""
    try:
        with open_regular(path) as file:
            if str(path).lower().endswith(".gz"):
                content = _unfolded(file, position, length)
            else:
                file.seek(position)
                content = file.read(length)
    except (OSError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error}); copy the file again") from error
    if len(content) < length:
        raise DataError(f"{path}: breaks off before byte {position + length:,}; copy the file again")
    return content


def _unfolded(file: BinaryIO, position: int, length: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    content, passed, rest = bytearray(), 0, b""
    while len(content) < length:
        rest = rest or file.read(PIECE)
        if stream.eof:  # a file may consist of several packed ones
            stream = zlib.decompressobj(wbits=31)
        part = stream.decompress(rest, PIECE)
        if not part and not rest:
            break
        rest = stream.unconsumed_tail or stream.unused_data
        content += part[max(0, position - passed) :]
        passed += len(part)
    return bytes(content[:length])
