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
    """rows, columns: uint8 of one size, every column value below num_columns <= 256 -> int64 [256, num_columns] counts.

    Exact for every size and layout. A row value may be any byte, so that the caller sees what lies outside its
    classes. Label maps are piecewise constant, so words of 8 pixels that repeat are counted as runs; maps without
    such runs are counted pixel by pixel.
    """
    assert rows.dtype == columns.dtype == np.uint8 and rows.size == columns.size, (rows.dtype, columns.dtype)
    if columns.size and int(columns.max()) >= num_columns:
        raise ValueError(f"value {int(columns.max())} in the columns of a histogram of {num_columns}")
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
    """Whether most words, by one in 16 of them, are equal to the word before: then counting runs costs less."""
    changes = rows[1::16] != rows[:-1:16]
    changes |= columns[1::16] != columns[:-1:16]
    return len(changes) > 0 and np.count_nonzero(changes) < MOST_CHANGES * len(changes)


def _count_pixels(rows: np.ndarray, columns: np.ndarray, num_columns: int) -> np.ndarray:
    """uint8 [n] each -> int64 [256, num_columns], one count per pixel.

    Codes of 16 bits are a quarter of the memory of int64, and torch counts them as they are. Neighbouring pixels mostly
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
    """rows, columns: uint64 [n] words of 8 pixels, times: int64 [n] -> int64 [256, num_columns], each counted so often.

    Most repeated words are of one class throughout: these count 8 for their first pixel, the others pixel by pixel.
    """
    first_row, first_column = rows & np.uint64(BYTE - 1), columns & np.uint64(BYTE - 1)
    is_plain = (first_row * ALL_BYTES == rows) & (first_column * ALL_BYTES == columns)
    plain = (first_row * np.uint64(num_columns) + first_column)[is_plain].astype(np.int64)
    mixed = rows[~is_plain].view(np.uint8).astype(np.int64) * num_columns + columns[~is_plain].view(np.uint8)
    # float64 weights are exact up to 2^53 pixels
    counts = np.bincount(plain, weights=8 * times[is_plain], minlength=num_columns * BYTE)
    counts = counts + np.bincount(mixed, weights=np.repeat(times[~is_plain], WORD), minlength=num_columns * BYTE)
    return counts.astype(np.int64).reshape(BYTE, num_columns)


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
