"""Joint histograms of two label maps: how often truth t meets prediction p."""

import numpy as np
import torch
from torch import Tensor

BYTE = 256
LARGEST_INT16 = 32767


def joint_histogram(rows: np.ndarray, columns: np.ndarray, num_columns: int) -> np.ndarray:
    """rows, columns: uint8 of one size, every column value below num_columns -> int64 [256, num_columns] counts.

    Exact for every size. A row value is any byte, so that the caller sees what lies outside its classes.
    """
    if columns.size and int(columns.max()) >= num_columns:
        raise ValueError(f"value {int(columns.max())} in the columns of a histogram of {num_columns}")
    bins = BYTE * num_columns
    dtype = np.int16 if bins <= LARGEST_INT16 + 1 else np.int32
    codes = np.multiply(rows.reshape(-1), dtype(num_columns), dtype=dtype)
    codes += columns.reshape(-1)
    counts = torch.bincount(torch.from_numpy(codes), minlength=bins)
    return counts.numpy().reshape(BYTE, num_columns)


def joint_histogram_of_tensors(rows: Tensor, columns: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """rows, columns: integer tensors of one size on one device, values in 0..num_rows-1 and 0..num_columns-1
    -> int64 [num_rows, num_columns] counts on that device, exact.

    On a GPU nothing waits for the device: bincount would read the largest value back, histc with given ends does not.
    """
    codes = (rows.long() * num_columns + columns).reshape(-1)
    bins = num_rows * num_columns
    if codes.is_cuda:
        counts = torch.histc(codes, bins, min=0, max=bins)
    else:
        counts = torch.bincount(codes, minlength=bins)
    return counts.reshape(num_rows, num_columns)
