"""Arrays from .npy, .npz and .mat files: no objects, and no more memory than the file has values for."""

import io
import math
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from segkit.files import DataError, read_bytes, shortened, write_whole

INFLATED = 256 << 20
"""Bytes of a .mat file after decompression at most; an index of ADE20K has 60 MB, a mask of SBD less than 1."""

UNPACKED = 1 << 30
"""Bytes of all arrays of a .npz file at most; the matches of a million detections have 100 MB."""

COMPRESSED, MATRIX = 15, 14
"""Types of elements of a .mat file."""

SPARSE, OPAQUE = 5, (3, 16, 17)
"""Classes of arrays in a .mat file: sparse ones store their indices; objects and functions are not read."""


def read_npy(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """Reads a .npy file.

    Args:
        path: the file.
        content: its bytes, where they are known already.

    Returns:
        Its array of numbers.

    Raises:
        DataError: it is missing or damaged, or holds something else; objects would run code.
    """
    content = read_bytes(path) if content is None else content
    stream = io.BytesIO(content)
    try:
        if np.lib.format.read_magic(stream) == (1, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(stream)
        if dtype.hasobject or dtype.names or dtype.subdtype:
            raise ValueError(f"it holds {'objects' if dtype.hasobject else 'records'}, not numbers")
        count = math.prod(shape)
        if count * dtype.itemsize != len(content) - stream.tell():
            raise ValueError(f"its header says {shape} values of {dtype}, the file holds less or more")
        flat = np.frombuffer(content, dtype, count, stream.tell()).copy()
        return flat.reshape(shape, order="F" if is_fortran else "C")
    except Exception as error:  # numpy evaluates the header as a Python literal, which fails in many ways
        raise DataError(
            f"{path}: no readable .npy array ({shortened(error, 200)}); save it again with numpy.save"
        ) from error


def read_npz(path: str | Path, names: Collection[str] | None = None, most: int | None = None) -> dict[str, np.ndarray]:
    """Reads arrays of a .npz file, of numbers or of text.

    Args:
        path: the file.
        names: of the arrays that are read; default: all.
        most: bytes that they may have together after decompression; default UNPACKED.

    Returns:
        The arrays that the file has of these, by their names.

    Raises:
        DataError: it is missing or damaged, holds something else, or needs more bytes.
    """
    content, limit = read_bytes(path), UNPACKED if most is None else most
    found: dict[str, np.ndarray] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            left = limit
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                if names is not None and name not in names:
                    continue
                with archive.open(member) as stream:
                    # what the archive says of its sizes may be wrong
                    raw = stream.read(left + 1)
                left -= len(raw)
                if left < 0:
                    raise ValueError(f"it needs more than {limit:,} bytes when decompressed")
                found[name] = read_npy(f"{path}: {name}", raw)
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path}: no readable .npz file ({shortened(error, 200)}); write it again") from error
    return found


def write_npz(path: str | Path, arrays: Mapping[str, np.ndarray]) -> Path:
    """Writes arrays of numbers or text as a .npz file, atomically; returns its path.

    Args:
        path: the file.
        arrays: by their names.
    """
    file = io.BytesIO()
    # numpy's own level of compression takes three times as long for 5 % less
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)
    return write_whole(path, file.getvalue())


def read_mat(path: str | Path, name: str, **options: Any) -> Any:
    """Reads a variable of a .mat file.

    Args:
        path: a file of MATLAB 5 to 7.
        name: of the variable.
        options: arguments of scipy.io.loadmat.

    Raises:
        DataError: the file is missing or damaged, has no such variable, holds objects or functions, or needs far more
            memory than it has values.
    """
    from scipy.io import loadmat

    content = read_bytes(path)
    try:
        if content[124:128] not in (b"\x00\x01IM", b"\x01\x00MI"):
            raise ValueError("no file of MATLAB 5 to 7")
        order = "little" if content[126:128] == b"IM" else "big"
        _check_elements(content, 128, len(content), order, [INFLATED])
        return loadmat(io.BytesIO(content), variable_names=[name], **options)[name]
    except Exception as error:  # a damaged file raises nearly any exception
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {shortened(error, 200)})") from error


def _check_elements(content: bytes, position: int, end: int, order: Any, left: list[int], depth: int = 0) -> None:
    """Checks the sizes that the elements of a .mat file declare; left: bytes that may still be inflated."""
    while position + 8 <= end:
        kind = int.from_bytes(content[position : position + 4], order)
        size = int.from_bytes(content[position + 4 : position + 8], order)
        if kind >> 16:  # a small element: its size and up to 4 bytes lie in the tag
            position += 8
            continue
        first, position = position + 8, position + 8 + size
        if position > end or depth > 50:
            raise ValueError("it breaks off")
        if kind == COMPRESSED:
            stream = zlib.decompressobj()
            inner = stream.decompress(content[first:position], left[0] + 1)
            left[0] -= len(inner)
            if left[0] < 0:
                raise ValueError(f"it needs more than {INFLATED:,} bytes when decompressed")
            _check_elements(inner, 0, len(inner), order, left, depth + 1)
        elif kind == MATRIX and size:
            _check_matrix(content, first, position, order)
            _check_elements(content, first + 16, position, order, left, depth + 1)
        if kind != COMPRESSED:
            position += -size % 8


def _check_matrix(content: bytes, first: int, end: int, order: Any) -> None:
    """Flags, 8 bytes behind a tag of 8, then the lengths of the axes: an array has no more values than bytes."""
    flags = int.from_bytes(content[first + 8 : first + 12], order) & 0xFF
    if flags in OPAQUE:
        raise ValueError("it holds an object or a function")
    size = int.from_bytes(content[first + 20 : first + 24], order)
    start = first + 24
    if size > 4 * 64 or size % 4 or start + size > end:
        raise ValueError("an array has no size")
    lengths = [int.from_bytes(content[i : i + 4], order, signed=True) for i in range(start, start + size, 4)]
    if any(length < 0 for length in lengths) or (flags != SPARSE and math.prod(lengths) > end - first):
        raise ValueError(f"an array of {'x'.join(map(str, lengths[:8]))} values is larger than the file")
