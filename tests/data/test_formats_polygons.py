"""Polygons as those of Cityscapes: a file that its scripts wrote, other names, and files that are wrong."""

import json

import numpy as np
import pytest

from segkit.data.formats.polygons import PolygonsReader
from segkit.files import DataError
from tests.data.labelled import copied, picture

SIZE = (40, 60)
SQUARE = [[1, 1], [5, 1], [5, 5]]


def written(tmp_path, *objects, name="a_gtFine_polygons.json", image="a.png", **keys):
    picture(tmp_path / image, SIZE)
    content = dict(imgHeight=40, imgWidth=60, objects=list(objects)) | keys
    (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
    (tmp_path / name).write_text(json.dumps(content))
    return tmp_path


def test_a_file_of_cityscapes(tmp_path):
    copied("polygons", tmp_path)
    for city in ("bonn", "ulm"):
        picture(tmp_path / "leftImg8bit" / "train" / city / "bonn_000000_000019_leftImg8bit.png", SIZE)
    picture(tmp_path / "gtFine" / "train" / "bonn" / "bonn_000000_000019_gtFine_color.png", SIZE)
    assert PolygonsReader.sniff(tmp_path) == "1 of 1 files *_polygons.json looked at hold 'imgHeight' and 'objects'"
    reader = PolygonsReader.open(tmp_path)
    assert reader.images == [tmp_path / "leftImg8bit" / "train" / "bonn" / "bonn_000000_000019_leftImg8bit.png"]
    assert reader.classes == ("car", "road") and reader.splits == {"train": [0]} and not reader.lost
    item = reader.item(0)
    assert item.size == SIZE and item.in_order
    assert [(shape.label, shape.crowd) for shape in item.shapes] == [("road", False), ("car", False), ("car", True)]
    assert item.shapes[1].outlines[0].tolist() == [[10, 15], [30, 15], [30, 30], [10, 30]]


def test_other_names(tmp_path):
    thin = dict(label="pole", polygon=[[1, 1], [2, 2]])
    written(tmp_path, dict(label="group", polygon=SQUARE), thin, name="labels/x_polygons.json", image="images/x.jpg")
    reader = PolygonsReader.open(tmp_path)
    assert reader.images == [tmp_path / "images" / "x.jpg"] and reader.classes == ("group",)
    assert reader.lost == {"outlines of fewer than 3 corners": 1} and not reader.item(0).shapes[0].crowd
    written(tmp_path, name="labels/y_polygons.json")
    assert any("1 labelled images are not below" in note for note in PolygonsReader.open(tmp_path).notes)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (dict(label="car", polygon=[[1, 1], [np.nan, 1], [2, 2]]), r"object 1 \('car'\): a corner is not finite"),
        (dict(label="car", polygon=[[1, 1], [1], [2, 2]]), r"corner 2 is \[1\]"),
        (dict(label="car", polygon=7), "7 where corners"),
        (dict(label=9, polygon=SQUARE), "the label 9"),
    ],
)
def test_wrong_objects_are_named(tmp_path, entry, words):
    with pytest.raises(DataError, match=rf"a_gtFine_polygons\.json, .*{words}"):
        PolygonsReader.open(written(tmp_path, entry)).item(0)


def test_wrong_files_are_named(tmp_path):
    with pytest.raises(DataError, match="height 0 and width 60"):
        PolygonsReader.open(written(tmp_path, imgHeight=0)).item(0)
    (tmp_path / "a_gtFine_polygons.json").write_text("[1]")
    with pytest.raises(DataError, match=r"polygons\.json: \[1\] where an object"):
        PolygonsReader.open(tmp_path)
