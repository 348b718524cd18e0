"""Probabilities of classes from .npz files, as `segkit test --probabilities` writes them, and from .npy files."""

import io
import zipfile
import zlib
from pathlib import Path

import numpy as np

from segkit.files import DataError, read_bytes, shortened
from segkit.readers.arrays import read_npy

VALUE_BYTES = 8
"""Of the widest number that is read."""

HEADER_BYTES = 1 << 16
"""Room for what stands beside the values."""


def read_probabilities(path: str | Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Reads the probabilities of an image.

    Args:
        path: .npz with an array "probabilities", or .npy.
        shape: (K, H, W) that they must have.

    Returns:
        float32 [K,H,W].

    Raises:
        DataError: the file cannot be read, or holds another shape or no probabilities.
    """
    content = read_bytes(path)
    if str(path).lower().endswith(".npz"):
        content = _member(content, path, int(np.prod(shape)) * VALUE_BYTES + HEADER_BYTES)
    values = read_npy(path, content)
    if values.dtype.kind != "f" or values.shape != shape:
        raise DataError(
            f"{path}: holds {values.dtype} {values.shape}, and probabilities of shape {shape} are expected (classes, "
            "height, width of the image); predict the same data set with segkit test --probabilities"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise DataError(f"{path}: holds values from {low:g} to {high:g}; probabilities lie in 0..1, so apply a softmax")
    return values.astype(np.float32)


def _member(content: bytes, path: str | Path, most: int) -> bytes:
    """The array "probabilities" of an archive, not unpacked where it is larger than `most` bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            info = archive.getinfo("probabilities.npy")
            if info.file_size > most:
                raise DataError(
                    f"{path}: its array has {info.file_size:,} bytes, more than an image of this size and these "
                    "classes; predict the same data set"
                )
            with archive.open(info) as file:
                return file.read(most)
    except KeyError as error:
        raise DataError(f"{path}: holds no array 'probabilities'; write it with segkit test --probabilities") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError) as error:
        raise DataError(f"{path}: no readable .npz file ({shortened(error, 200)}); write it again") from error
