"""Slices of NIfTI volumes (.nii, .nii.gz), read without the rest of the volume.

Format: https://nifti.nimh.nih.gov/nifti-1 (nifti1.h). The voxels lie in the file along x, then y, z and t, so that a
slice is one piece; of packed files what lies before it is unpacked and let go.
"""

import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from segkit.files import MAX_BYTES, MAX_PIXELS, DataError, brief, limit, open_regular

SUFFIXES = (".nii.gz", ".nii")
HEADER = 348
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
        DataError: it is damaged, no single NIfTI-1 file, of colors or complex numbers, or too large.
    """
    head = _bytes_at(path, 0, HEADER)
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", head)[0] == HEADER), None)
    if order is None or head[344:348] != b"n+1\0":
        raise DataError(f"{path}: no NIfTI-1 file in one piece; save it as .nii.gz by nibabel or ITK")
    axes = struct.unpack_from(f"{order}8h", head, 40)
    code, bits = struct.unpack_from(f"{order}hh", head, 70)
    start, slope, intercept = struct.unpack_from(f"{order}3f", head, 108)
    sides = [*axes[1 : 1 + max(0, min(axes[0], 7))], 1, 1, 1, 1][:7]
    if not 2 <= axes[0] <= 7 or min(sides) < 1 or max(sides[4:], default=1) > 1:
        raise DataError(f"{path}: axes of {brief(axes)}; volumes of 2 to 4 axes are read, x y z and channels")
    if code not in TYPES or np.dtype(TYPES[code]).itemsize * 8 != bits:
        raise DataError(f"{path}: numbers of type {code} with {bits} bits; save it with whole or floating numbers")
    width, height, slices, channels = sides[:4]
    dtype = np.dtype(order + TYPES[code])
    total = height * width * slices * channels * dtype.itemsize
    if not HEADER <= start < 1 << 20:
        raise DataError(f"{path}: voxels from byte {start}, which is none; copy the file again")
    if height * width > limit(MAX_PIXELS) or total > limit(MAX_BYTES):
        raise DataError(
            f"{path}: {width} x {height} x {slices} x {channels} voxels, {total:,} bytes, of at most "
            f"{limit(MAX_BYTES):,} ({MAX_BYTES[0]})"
        )
    is_scaled = bool(np.isfinite([slope, intercept]).all() and slope != 0)
    scale = (float(slope), float(intercept)) if is_scaled else (1.0, 0.0)
    return Volume(path, (height, width), slices, channels, dtype, int(start), *scale)


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
