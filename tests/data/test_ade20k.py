"""ADE20K in the layout of ADEChallengeData2016."""

import numpy as np
import pytest

from segkit.data.files.labels import LabelError
from segkit.data.semantic.ade20k import ADE20K
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask


@pytest.fixture
def root(tmp_path):
    for part, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        write_image(tmp_path / "images" / part / f"{name}.jpg")
        write_mask(tmp_path / "annotations" / part / f"{name}.png", rows(0, 1, 150))
    write_image(tmp_path / "images" / "testing" / "ADE_test_00000001.jpg")
    return tmp_path


def test_zero_is_ignored_and_the_rest_moves_down(root):
    for split in ("train", "val"):
        assert ADE20K(str(root), split).mask(0)[0, :3].tolist() == [255, 0, 149]


def test_classes(root):
    ade = ADE20K(str(root))
    assert len(ade.classes) == len(set(ade.classes)) == 150 and len(ade.palette) == 150
    # rows 1, 13, 45, 104 and 150 of objectInfo150.txt
    assert [ade.classes[i] for i in (0, 12, 44, 103, 149)] == ["wall", "person", "chest of drawers", "ship", "flag"]
    assert ade.palette[0] == (120, 120, 120) and ade.palette[149] == (92, 0, 255)


def test_test_split_and_errors(root):
    test = ADE20K(str(root), "test")
    assert not test.has_mask(0) and test.sample(0, np.random.default_rng(0))["image"].shape == (6, 8, 3)
    write_mask(root / "annotations" / "validation" / "ADE_val_00000001.png", 151)
    with pytest.raises(LabelError, match=r"label 151.*ADE20K has no such label"):
        ADE20K(str(root), "val").mask(0)
    with pytest.raises(DataError, match="no split 'validation'"):
        ADE20K(str(root), "validation")
