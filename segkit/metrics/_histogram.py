"""Joint histograms of two label maps: how often truth t meets prediction p."""

import numpy as np
import torch
from torch import Tensor

BYTE = 256
WORD = 8
ALL_BYTES = np.uint64(0x0101010101010101)
NUM_INT16 = 32768
MOST_CHANGES = 0.35
"""Share of 8-pixel words unlike the word before, from which on counting runs costs more than counting pixels."""


def joint_histogram(rows: np.ndarray, columns: np.ndarray, num_columns: int) -> np.ndarray:
    """Counts the pairs of values of two label maps.

    Exact for every size and layout. A row value may be any byte, so that the caller sees what lies outside its
    classes. Label maps are piecewise constant, so words of 8 pixels that repeat are counted as runs; maps without
    such runs are counted pixel by pixel.

    Args:
        rows: uint8 of any shape.
        columns: uint8 of the same size, every value below num_columns.
        num_columns: at most 256.

    Returns:
        int64 [256, num_columns].

    Raises:
        ValueError: a value of columns is too large.
    """
    assert rows.dtype == columns.dtype == np.uint8 and rows.size == columns.size, (rows.dtype, columns.dtype)
    if columns.size and int(columns.max()) >= num_columns:
        raise ValueError(f"columns hold the value {int(columns.max())}; must be below num_columns = {num_columns}")
    rows, columns = np.ascontiguousarray(rows).reshape(-1), np.ascontiguousarray(columns).reshape(-1)
    whole = rows.size - rows.size % WORD
    row_words, column_words = rows[:whole].view(np.uint64), columns[:whole].view(np.uint64)
    if not _has_runs(row_words, column_words):
        return _count_pixels(rows, columns, num_columns)
    changes = row_words[1:] != row_words[:-1]
    changes |= column_words[1:] != column_words[:-1]
    last = np.append(np.flatnonzero(changes), len(row_words) - 1)
    repeats = last.copy()
    repeats[1:] -= last[:-1] + 1
    row_words, column_words = row_words[last], column_words[last]
    once = _count_pixels(row_words.view(np.uint8), column_words.view(np.uint8), num_columns)
    repeated = np.flatnonzero(repeats > 0)
    again = _count_words(row_words[repeated], column_words[repeated], repeats[repeated], num_columns)
    tail = _count_pixels(rows[whole:], columns[whole:], num_columns) if whole < rows.size else 0
    return once + again + tail


def _has_runs(rows: np.ndarray, columns: np.ndarray) -> bool:
    """Whether most words equal the word before, judged by one in 16 of them: then counting runs costs less."""
    changes = rows[1::16] != rows[:-1:16]
    changes |= columns[1::16] != columns[:-1:16]
    return len(changes) > 0 and bool(np.count_nonzero(changes) < MOST_CHANGES * len(changes))


def _count_pixels(rows: np.ndarray, columns: np.ndarray, num_columns: int) -> np.ndarray:
    """Counts pixel by pixel, int64 [256, num_columns]; rows, columns: uint8 [n].

    Codes of 16 bits take a quarter of the memory of int64, and torch counts them directly. Neighbouring pixels mostly
    fall into one bin, and an addition to memory waits for the one before it; four histograms in turn, one for each of
    four neighbours, avoid the wait.
    """
    banks = 4 if BYTE * 4 * num_columns <= NUM_INT16 and rows.size % 4 == 0 else 1
    if banks == 4:
        # one addition for four bytes: they stay below 128, hence nothing carries over
        shifts = np.arange(4, dtype=np.uint8) * np.uint8(num_columns)
        columns = (columns.view(np.uint32) + shifts.view(np.uint32)).view(np.uint8)
    width = banks * num_columns
    dtype = np.int16 if BYTE * width <= NUM_INT16 else np.int32
    codes = np.multiply(rows, dtype(width), dtype=dtype)
    codes += columns
    counts = torch.bincount(torch.from_numpy(codes), minlength=BYTE * width)
    return counts.reshape(BYTE, banks, num_columns).sum(1).numpy()


def _count_words(rows: np.ndarray, columns: np.ndarray, times: np.ndarray, num_columns: int) -> np.ndarray:
    """Counts words of 8 pixels, uint64 [n], each `times`, int64 [n]; the result is int64 [256, num_columns].

    Most repeated words are of one class throughout: these count 8 for their first pixel, the others pixel by pixel.
    """
    first_row, first_column = rows & np.uint64(BYTE - 1), columns & np.uint64(BYTE - 1)
    is_constant = (first_row * ALL_BYTES == rows) & (first_column * ALL_BYTES == columns)
    constant = (first_row * np.uint64(num_columns) + first_column)[is_constant].astype(np.int64)
    mixed = rows[~is_constant].view(np.uint8).astype(np.int64) * num_columns + columns[~is_constant].view(np.uint8)
    # float64 weights are exact up to 2^53 pixels
    counts = np.bincount(constant, weights=8 * times[is_constant], minlength=num_columns * BYTE)
    counts = counts + np.bincount(mixed, weights=np.repeat(times[~is_constant], WORD), minlength=num_columns * BYTE)
    return counts.astype(np.int64).reshape(BYTE, num_columns)


def joint_histogram_of_tensors(rows: Tensor, columns: Tensor, num_rows: int, num_columns: int) -> Tensor:
    """Counts the pairs of values of two label maps on their device, exactly.

    On a GPU nothing waits for the device: bincount would read the largest value back, histc with given ends does not.

    Args:
        rows: integers of any shape in 0..num_rows-1.
        columns: integers of the same size in 0..num_columns-1, on the same device.
        num_rows: number of row values.
        num_columns: number of column values.

    Returns:
        int64 [num_rows, num_columns].
    """
    codes = (rows.long() * num_columns + columns).reshape(-1)
    bins = num_rows * num_columns
    if codes.is_cuda:
        counts = torch.histc(codes, bins, min=0, max=bins)
    else:
        counts = torch.bincount(codes, minlength=bins)
    return counts.reshape(num_rows, num_columns)
