"""Cityscapes in its official layout, with both kinds of label files."""

import numpy as np
import pytest

from segkit.data.files.labels import LabelError
from segkit.data.semantic.cityscapes import CLASSES, Cityscapes, id_table
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask


@pytest.fixture
def root(tmp_path):
    for split, city, name in (("train", "aachen", "aachen_000000_000019"), ("test", "berlin", "berlin_000000_000019")):
        write_image(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        write_mask(tmp_path / "gtFine" / split / city / f"{name}_gtFine_labelIds.png", rows(0, 7, 33, 18, 255, 26))
        write_mask(tmp_path / "gtFine" / split / city / f"{name}_gtFine_instanceIds.png", 0)
    return tmp_path


def test_ids_become_train_ids(root):
    cityscapes = Cityscapes(str(root))
    assert cityscapes.ids == ["aachen/aachen_000000_000019"]
    assert cityscapes.mask(0)[0, :6].tolist() == [255, 0, 18, 255, 255, 13]
    assert cityscapes.classes[13] == "car" and cityscapes.palette[0] == (128, 64, 128) and len(cityscapes.classes) == 19


def test_train_ids_go_first(root):
    folder = root / "gtFine" / "train" / "aachen"
    write_mask(folder / "aachen_000000_000019_gtFine_labelTrainIds.png", rows(0, 18, 255))
    cityscapes = Cityscapes(str(root))
    assert cityscapes.mask_path(0).endswith("_labelTrainIds.png")
    assert cityscapes.mask(0)[0, :3].tolist() == [0, 18, 255]


def test_table_of_the_official_scripts():
    table = id_table()
    evaluated = [i for i in range(34) if table[i] != "ignore"]
    assert evaluated == [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert [table[i] for i in evaluated] == list(range(19)) and len(CLASSES) == 19


def test_test_split_has_no_labels(root):
    cityscapes = Cityscapes(str(root), "test")
    assert len(cityscapes) == 1 and not cityscapes.has_mask(0)
    assert "mask" not in cityscapes.sample(0, np.random.default_rng(0))


def test_coarse_labels(root):
    name = "aachen_000000_000019"
    write_image(root / "leftImg8bit" / "train_extra" / "aachen" / f"{name}_leftImg8bit.png")
    write_mask(root / "gtCoarse" / "train_extra" / "aachen" / f"{name}_gtCoarse_labelIds.png", 7)
    assert (Cityscapes(str(root), "train_extra", labels="gtCoarse").mask(0) == 0).all()


def test_errors(root):
    write_mask(root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png", 40)
    with pytest.raises(LabelError, match=r"label 40.*Cityscapes has no such label"):
        Cityscapes(str(root)).mask(0)
    with pytest.raises(DataError, match="did you mean 'train'"):
        Cityscapes(str(root), "trian")
    with pytest.raises(DataError, match="'gtFine' and 'gtCoarse'"):
        Cityscapes(str(root), labels="fine")
    (root / "gtFine/train/aachen/aachen_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match="1 of 1 images have no mask"):
        Cityscapes(str(root))
