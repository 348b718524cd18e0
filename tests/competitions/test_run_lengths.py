"""Run-length codes: known ones, a slow reference, pycocotools, and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segkit.data.files.run_lengths import (
    KAGGLE,
    RELATIVE,
    RunLengths,
    compressed,
    decode_mask,
    encode_mask,
    runs_of,
    to_counts,
)
from segkit.files import DataError
from tests.competitions.made import absolute, relative


def masks() -> st.SearchStrategy[np.ndarray]:
    def build(height: int, width: int, seed: int, share: float) -> np.ndarray:
        return (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)

    sides = st.integers(1, 9)
    return st.builds(build, sides, sides, st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.5, 0.9, 1.0]))


MASK = np.array([[0, 1, 0], [1, 1, 0], [1, 0, 1]], np.uint8)
"""Down the columns: 0 1 1 | 1 1 0 | 0 0 1."""


def test_codes_by_hand():
    assert KAGGLE.encode(MASK) == "2 4 9 1"
    assert RELATIVE.encode(MASK) == "1 4 3 1"
    assert RunLengths(by_rows=True).encode(MASK) == "2 1 4 2 7 1 9 1"  # 0 1 0 1 1 0 1 0 1
    assert RunLengths(first=0).encode(MASK) == "1 4 8 1"
    assert to_counts(MASK) == {"size": [3, 3], "counts": [1, 4, 3, 1]}
    assert to_counts(np.zeros((2, 3))) == {"size": [2, 3], "counts": [6]}
    assert to_counts(np.ones((2, 3))) == {"size": [2, 3], "counts": [0, 6]}
    np.testing.assert_array_equal(KAGGLE.decode("2 4 9 1", (3, 3), "a"), MASK)
    np.testing.assert_array_equal(RELATIVE.decode("1 4 3 1", (3, 3), "a"), MASK)
    assert KAGGLE.encode(np.zeros((4, 4))) == "" and not KAGGLE.decode(" ", (4, 4), "a").any()
    # touching runs are one mask, as some files have them
    np.testing.assert_array_equal(KAGGLE.decode("1 2 3 2", (2, 2), "a"), np.ones((2, 2)))
    np.testing.assert_array_equal(RELATIVE.decode("0 2 0 2", (2, 2), "a"), np.ones((2, 2)))


@settings(deadline=None)
@given(masks())
def test_codes_equal_the_slow_reference_and_come_back(mask):
    assert KAGGLE.encode(mask) == absolute(mask) and RELATIVE.encode(mask) == relative(mask)
    for code in (KAGGLE, RELATIVE, RunLengths(by_rows=True), RunLengths(first=0, relative=True, by_rows=True)):
        np.testing.assert_array_equal(code.decode(code.encode(mask), mask.shape, "a"), mask)
    assert (np.diff(runs_of(mask)[:, 0]) > 1).all()


@settings(deadline=None)
@given(masks())
def test_coco_codes_equal_pycocotools(mask):
    from pycocotools import mask as coco_mask

    counts = to_counts(mask)
    assert sum(counts["counts"]) == mask.size
    assert compressed(counts) == coco_mask.encode(np.asfortranarray(mask))
    np.testing.assert_array_equal(coco_mask.decode(compressed(counts)), mask)


@pytest.mark.parametrize(
    ("code", "text", "match"),
    [
        (KAGGLE, "1 2 3", r"t\.csv, line 7: 3 numbers, an odd count"),
        (KAGGLE, "1 2.5", "'2.5' is no whole number"),
        (KAGGLE, "1 -2", "'-2' is no whole number"),
        (KAGGLE, "1 " + "9" * 5000, "is no whole number"),
        (KAGGLE, "1 ٣", "is no whole number"),
        (KAGGLE, "1 0", r"run 1 \('1 0'\) has no pixel"),
        (KAGGLE, "0 2", r"run 1 \('0 2'\) begins before the image; the first pixel is 1"),
        (KAGGLE, "5 1 3 1", r"run 2 \('3 1'\) begins before run 1; sort the runs"),
        (KAGGLE, "3 3 5 1", r"run 2 \('5 1'\) overlaps run 1, which ends with pixel 5"),
        (KAGGLE, "8 3", r"run 1 \('8 3'\) ends with pixel 10, beyond the image of 3x3, whose last is 9"),
        (KAGGLE, "999999999999999999 1", "beyond the image of 3x3"),
        (RELATIVE, "8 2", r"ends with pixel 9, beyond the image of 3x3, whose last is 8"),
        (RELATIVE, "2 4 5 1", r"run 2 \('5 1'\) ends with pixel 11, beyond the image"),
    ],
)
def test_codes_that_are_refused(code, text, match):
    with pytest.raises(DataError, match=match):
        code.decode(text, (3, 3), "t.csv, line 7")


def test_counts_that_do_not_fill_their_size_are_refused():
    with pytest.raises(ValueError, match="add up to 8, not to the 9 pixels"):
        compressed({"size": [3, 3], "counts": [1, 4, 3]})


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_masks_are_coded_as_pycocotools_does(share):
    from pycocotools import mask as coco_mask

    rng = np.random.default_rng(5)
    for size in ((1, 1), (7, 300), (300, 90)):
        mask = (rng.random(size) < share).astype(np.uint8)
        expected = coco_mask.encode(np.asfortranarray(mask))
        assert encode_mask(mask) == expected
        np.testing.assert_array_equal(decode_mask(expected), mask)
    with pytest.raises(ValueError, match="add up to 12, not to the 9 pixels"):
        decode_mask(dict(size=[3, 3], counts=[12]))
