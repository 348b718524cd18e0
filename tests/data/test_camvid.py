"""CamVid: the layout of the SegNet tutorial, and the real set where it is at hand."""

from pathlib import Path

import numpy as np
import pytest

from segkit.data.files.labels import LabelError
from segkit.data.semantic.camvid import CamVid
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask

HISTOGRAM_VAL = [
    *(1601620, 4531180, 98499, 5053176, 1521751, 2851125, 155724, 537197, 304716, 113531, 387010),
    297271,
]
"""Pixels per raw label 0..11 of the 101 files of valannot, counted by numpy.unique over PIL's arrays."""


@pytest.fixture
def root(tmp_path) -> Path:
    for split, names in {"train": "ab", "val": "c", "test": "d"}.items():
        for name in names:
            write_image(tmp_path / split / f"{name}.png")
            write_mask(tmp_path / f"{split}annot" / f"{name}.png", rows(0, 10, 11))
    return tmp_path


def test_layout_and_void(root):
    assert CamVid(str(root)).ids == ["train/a", "train/b"]
    assert len(CamVid(str(root), "trainval")) == 3 and len(CamVid(str(root), "test")) == 1
    sample = CamVid(str(root), "val").sample(0, np.random.default_rng(0))
    assert sample["mask"][0, :3].tolist() == [0, 10, 255] and sample["meta"]["id"] == "val/c"


def test_errors(root):
    with pytest.raises(DataError, match="no split 'vall'; did you mean 'val'"):
        CamVid(str(root), "vall")
    with pytest.raises(DataError, match="CamVid expects"):
        CamVid(str(root / "nowhere"))
    write_mask(root / "trainannot" / "a.png", 12)
    with pytest.raises(LabelError, match=r"a\.png: label 12.*CamVid has no such label"):
        CamVid(str(root)).mask(0)
    (root / "valannot" / "c.png").unlink()
    with pytest.raises(DataError, match=r"1 of 1 images have no mask.*c\.png"):
        CamVid(str(root), "val")


def test_root_follows_the_variable(root, monkeypatch):
    monkeypatch.setenv("SEGKIT_DATA", str(root.parent))
    (root.parent / "camvid").symlink_to(root)
    assert len(CamVid()) == 2


def test_real_counts_and_histogram(real_data):
    """367/101/233 images; the shares of a slow count of the raw files by numpy."""
    place = real_data / "camvid"
    if not place.is_dir():
        pytest.skip("no camvid folder in SEGKIT_DATA")
    sets = {split: CamVid(str(place), split) for split in ("train", "val", "test")}
    assert [len(each) for each in sets.values()] == [367, 101, 233]
    counts = np.zeros(256, np.int64)
    val = sets["val"]
    for index in range(len(val)):
        mask = val.mask(index)
        assert mask.shape == (360, 480) and mask.dtype == np.uint8
        counts += np.bincount(mask.ravel(), minlength=256)
    assert val.image(0).shape == (360, 480, 3)
    assert counts.sum() == 101 * 360 * 480 and np.flatnonzero(counts).tolist() == [*range(11), 255]
    assert [*counts[:11].tolist(), int(counts[255])] == HISTOGRAM_VAL
