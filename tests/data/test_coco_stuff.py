"""COCO-Stuff 164k with the official pixel maps and with converted ones."""

import pytest

from segkit.data.files.labels import LabelError
from segkit.data.semantic.coco_stuff import COCOStuff, raw_table
from segkit.files import DataError
from tests.data.layouts import rows, write_image, write_mask


@pytest.mark.parametrize("images", ["images/train2017", "train2017"])
@pytest.mark.parametrize("masks", ["stuffthingmaps/train2017", "annotations/train2017"])
def test_official_maps(tmp_path, images, masks):
    write_image(tmp_path / images / "000000000009.jpg")
    # id - 1: person, fire hydrant, street sign (absent), stop sign, toothbrush, banner, wood, unlabelled
    write_mask(tmp_path / masks / "000000000009.png", rows(0, 10, 11, 12, 89, 91, 181, 255))
    stuff = COCOStuff(str(tmp_path))
    labels = stuff.mask(0)[0].tolist()
    assert labels == [0, 10, 255, 11, 79, 80, 170, 255]
    names = [stuff.classes[i] for i in labels if i != 255]
    assert names == ["person", "fire hydrant", "stop sign", "toothbrush", "banner", "wood"]


def test_converted_maps_go_first(tmp_path):
    write_image(tmp_path / "images" / "val2017" / "1.jpg")
    write_mask(tmp_path / "annotations" / "val2017" / "1.png", rows(181))
    write_mask(tmp_path / "annotations" / "val2017" / "1_labelTrainIds.png", rows(0, 170, 255))
    assert COCOStuff(str(tmp_path), "val").mask(0)[0, :3].tolist() == [0, 170, 255]


def test_classes():
    assert len(COCOStuff.classes) == 171 and len(set(COCOStuff.palette)) == 171
    table = raw_table()
    assert sorted(table) == list(range(182)) and list(table.values()).count("ignore") == 11
    assert COCOStuff.classes.index("banner") == 80, "80 things come first"


def test_errors(tmp_path):
    write_image(tmp_path / "images" / "val2017" / "1.jpg")
    with pytest.raises(DataError, match="no folder stuffthingmaps/val2017 or annotations/val2017"):
        COCOStuff(str(tmp_path), "val")
    write_mask(tmp_path / "stuffthingmaps" / "val2017" / "1.png", 200)
    with pytest.raises(LabelError, match=r"label 200.*COCO-Stuff has no such label"):
        COCOStuff(str(tmp_path), "val").mask(0)
    write_image(tmp_path / "images" / "val2017" / "2.jpg")
    with pytest.raises(DataError, match=r"1 of 2 images have no mask.*2\.jpg"):
        COCOStuff(str(tmp_path), "val")
