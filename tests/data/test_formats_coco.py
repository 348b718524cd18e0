"""COCO: the layouts that are met, files of another program, and records that are wrong."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.data.formats.coco import CocoReader
from segkit.data.formats.draw import object_codes
from segkit.files import DataError
from tests.data.labelled import FIXTURES
from tests.data.layouts import write_image

CATEGORIES = [dict(id=7, name="cat"), dict(id=3, name="dog")]
SQUARE = dict(category_id=3, bbox=[5, 5, 10, 10], segmentation=[[5, 5, 15, 5, 15, 15, 5, 15]])


def write(path, names, rows, categories=CATEGORIES, **keys):
    """A file whose i-th row belongs to its i-th image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [dict(id=i, file_name=name, height=40, width=50) | keys for i, name in enumerate(names)]
    annotations = [dict(id=10 + i, image_id=i) | row for i, row in enumerate(rows)]
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))


def test_layout_of_roboflow(tmp_path):
    # the layout of a Roboflow export: a file beside the images of each split, and a group as category 0
    categories = [dict(id=0, name="pets", supercategory="none"), *(dict(c, supercategory="pets") for c in CATEGORIES)]
    for folder, name in (("train", "a.jpg"), ("valid", "b.jpg")):
        write_image(tmp_path / folder / name, (40, 50))
        write(tmp_path / folder / "_annotations.coco.json", [name], [SQUARE], categories)
    assert "_annotations.coco.json" in CocoReader.sniff(tmp_path)
    reader = CocoReader.open(tmp_path)
    assert reader.classes == ("cat", "dog") and reader.splits == {"train": [0], "val": [1]} and not reader.notes
    item = reader.item(1)
    assert item.path == tmp_path / "valid" / "b.jpg" and item.size == (40, 50) and item.is_labelled
    (shape,) = item.shapes
    assert (shape.label, shape.box, shape.crowd) == ("dog", (5, 5, 15, 15), False)
    assert shape.outlines[0].tolist() == [[5, 5], [15, 5], [15, 15], [5, 15]]


def test_groups_of_any_kind(tmp_path):
    write_image(tmp_path / "a.jpg", (40, 50))
    write(tmp_path / "a.json", ["a.jpg"], [SQUARE], [dict(id=3, name="dog", supercategory=[])])
    assert CocoReader.open(tmp_path).classes == ("dog",)


@pytest.mark.parametrize("images", ["train2017", "images", "images/train2017", "."])
def test_official_layout(tmp_path, images):
    write_image(tmp_path / images / "a.jpg", (40, 50))
    write(tmp_path / "annotations" / "instances_train2017.json", ["a.jpg"], [SQUARE])
    write(tmp_path / "annotations" / "person_keypoints_train2017.json", ["a.jpg"], [SQUARE | dict(keypoints=[1, 1, 2])])
    reader = CocoReader.open(tmp_path)
    assert reader.images == [tmp_path / images / "a.jpg"] and reader.splits == {"train": [0]} and not reader.lost
    single = CocoReader.open(tmp_path / "annotations" / "instances_train2017.json")
    assert single.images == reader.images


def test_all_forms_of_segmentations_are_one_mask(tmp_path):
    mask = np.zeros((40, 50), np.uint8)
    mask[5:15, 5:15] = 1
    packed = coco_mask.encode(np.asfortranarray(mask))
    runs = [5 * 40 + 5, *([10, 30] * 9), 10]
    rows = [
        SQUARE,
        SQUARE | dict(segmentation=dict(size=[40, 50], counts=packed["counts"].decode())),
        SQUARE | dict(segmentation=dict(size=[40, 50], counts=[*runs, 2000 - sum(runs)])),
    ]
    for i in range(4):
        write_image(tmp_path / f"{i}.jpg", (40, 50))
    write(tmp_path / "labels.json", [f"{i}.jpg" for i in range(4)], [*rows, SQUARE | dict(segmentation=[], iscrowd=1)])
    reader = CocoReader.open(tmp_path)
    for i in range(3):
        (code,) = object_codes(reader.item(i))
        assert (coco_mask.decode(code) == mask).all()
    (shape,) = reader.item(3).shapes
    assert not shape.outlines and shape.mask is None and shape.crowd and shape.box == (5, 5, 15, 15)


def test_what_is_lost_missing_or_not_labelled(tmp_path):
    write_image(tmp_path / "a.jpg", (40, 50))
    write(tmp_path / "a.json", ["a.jpg", "gone.jpg"], [SQUARE | dict(keypoints=[1, 1, 2], attributes=dict(old=1))])
    reader = CocoReader.open(tmp_path)
    assert reader.lost == {"keypoints": 1, "attributes": 1} and len(reader) == 1 and reader.splits == {}
    assert reader.notes == (f"1 images that {tmp_path / 'a.json'} names are not below {tmp_path}: gone.jpg",)
    write(tmp_path / "a.json", ["a.jpg"], [], height=None, width=None)
    assert not CocoReader.open(tmp_path).item(0).is_labelled and CocoReader.open(tmp_path).item(0).size == (40, 50)
    write(tmp_path / "a.json", ["gone.jpg"], [SQUARE])
    with pytest.raises(DataError, match=r"a\.json: none of its 1 images \(gone\.jpg\) lies in .*; copy the images"):
        CocoReader.open(tmp_path)
    write(tmp_path / "a.json", ["../a.jpg"], [SQUARE])
    with pytest.raises(DataError, match="outside of"):
        CocoReader.open(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (SQUARE | dict(segmentation=[[5, 5, 15, 5, 15]]), "5 coordinates, an odd number"),
        (SQUARE | dict(segmentation=dict(size=[50, 40], counts=[0, 2000])), "a mask of 40x50 pixels"),
        (SQUARE | dict(segmentation=dict(size=[40, 50])), "'counts' is missing"),
        (SQUARE | dict(segmentation="outline"), "neither polygons nor RLE"),
        (SQUARE | dict(bbox=[1, 2, 3]), r"bbox \[1, 2, 3\] is not \[x, y, w, h\]"),
        (SQUARE | dict(bbox=["x", 2, 3, 4]), "bbox .* is not"),
        (SQUARE | dict(iscrowd=3), "iscrowd 3 must be 0 or 1"),
        (dict(category_id=3), "neither segmentation nor bbox"),
    ],
)
def test_broken_records_name_file_and_annotation(tmp_path, row, message):
    write_image(tmp_path / "a.jpg", (40, 50))
    write(tmp_path / "a.json", ["a.jpg"], [row])
    with pytest.raises(DataError, match=rf"a\.json, annotation 10 \(a\.jpg\): .*{message}"):
        CocoReader.open(tmp_path).item(0)


def test_a_file_that_labelformat_wrote(tmp_path):
    # by tests/fixtures/pack_labelformat.py
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.jpg", (40, 60))
    (tmp_path / "coco.json").write_bytes((FIXTURES / "labelformat" / "coco.json").read_bytes())
    reader = CocoReader.open(tmp_path)
    cat, dog = reader.item(0).shapes
    assert reader.classes == ("cat", "big dog") and (cat.label, dog.label) == reader.classes
    assert [outline.tolist() for outline in dog.outlines] == [
        [[20, 20], [30.5, 20], [20, 30.25]],
        [[40, 20], [50, 20], [50, 30]],
    ]
