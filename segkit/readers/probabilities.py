"""Probabilities of classes from .npz files, as `segkit test --probabilities` writes them, and from .npy files."""

from pathlib import Path

import numpy as np

from segkit.files import DataError
from segkit.readers.arrays import read_npy, read_npz

NAME = "probabilities"
"""Of the array in an archive."""

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
    if str(path).lower().endswith(".npz"):
        found = read_npz(path, [NAME], int(np.prod(shape)) * VALUE_BYTES + HEADER_BYTES)
        if NAME not in found:
            raise DataError(f"{path}: holds no array '{NAME}'; write it with segkit test --probabilities")
        values = found[NAME]
    else:
        values = read_npy(path)
    if values.dtype.kind != "f" or values.shape != shape:
        raise DataError(
            f"{path}: holds {values.dtype} {values.shape}, and probabilities of shape {shape} are expected (classes, "
            "height, width of the image); predict the same data set with segkit test --probabilities"
        )
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise DataError(f"{path}: holds values from {low:g} to {high:g}; probabilities lie in 0..1, so apply a softmax")
    return values.astype(np.float32)
