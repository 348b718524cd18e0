"""The joint histogram is exact for every size, layout, class count and content."""

import numpy as np
import pytest
import torch

from segkit.metrics._histogram import joint_histogram, joint_histogram_of_tensors


def slow(rows, columns, num_columns: int) -> np.ndarray:
    counts = np.zeros((256, num_columns), np.int64)
    np.add.at(counts, (np.asarray(rows).reshape(-1), np.asarray(columns).reshape(-1)), 1)
    return counts


@pytest.mark.parametrize("num_columns", [1, 2, 19, 32, 33, 127, 128, 129, 255, 256])
def test_equals_counting_one_by_one(num_columns):
    rng = np.random.default_rng(num_columns)
    for run in (1, 3, 8, 40):
        for height, width in ((0, 0), (1, 7), (1, 8), (3, 37), (17, 64), (40, 40)):
            rows = np.repeat(rng.integers(0, 256, (height, width)), run, 1)[:, :width].astype(np.uint8)
            columns = np.repeat(rng.integers(0, num_columns, (height, width)), run, 1)[:, :width].astype(np.uint8)
            for a, b in (
                (rows, columns),
                (rows.T, columns.T),
                (rows[::2, 1:], columns[::2, 1:]),
                (rows[:, ::-1], columns),
            ):
                counts = joint_histogram(a, b, num_columns)
                assert counts.dtype == np.int64
                np.testing.assert_array_equal(counts, slow(a, b, num_columns))


def test_repeated_words_of_several_classes():
    rows = np.tile(np.arange(8, dtype=np.uint8), (50, 40))  # each word of 8 pixels equals the one before
    columns = (rows // 2).astype(np.uint8)
    np.testing.assert_array_equal(joint_histogram(rows, columns, 4), slow(rows, columns, 4))


def test_more_pixels_than_float32_counts():
    """2^24 + 9 pixels of one pair: a float32 bin stops at 2^24."""
    pixels = np.ones(2**24 + 9, np.uint8)
    assert joint_histogram(pixels, pixels, 2)[1, 1] == 2**24 + 9


def test_prediction_outside_is_refused():
    with pytest.raises(ValueError, match="columns hold the value 5"):
        joint_histogram(np.zeros((2, 2), np.uint8), np.full((2, 2), 5, np.uint8), 5)


def test_tensors_of_many_classes():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 301, (20, 30), generator=generator, dtype=torch.int16)
    columns = torch.randint(0, 300, (20, 30), generator=generator, dtype=torch.int16)
    expected = torch.zeros(301, 300, dtype=torch.int64)
    for t, p in zip(rows.flatten().tolist(), columns.flatten().tolist()):
        expected[t, p] += 1
    assert torch.equal(joint_histogram_of_tensors(rows, columns, 301, 300), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_on_a_gpu():
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 20, (512, 1024), generator=generator)
    columns = torch.randint(0, 19, (512, 1024), generator=generator)
    on_gpu = joint_histogram_of_tensors(rows.cuda(), columns.cuda(), 20, 19)
    assert on_gpu.dtype == torch.int64
    assert torch.equal(on_gpu.cpu(), joint_histogram_of_tensors(rows, columns, 20, 19))
