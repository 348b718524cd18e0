"""COCO files as they are met: each reader of them reads or refuses the same, naming file and annotation."""

import json
import unicodedata

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.data.files.coco_json import draw, read_coco
from segkit.data.files.outlines import check_segmentation
from segkit.data.instances.coco import COCOInstances
from segkit.data.instances.few import FewInstances
from segkit.data.interactive.coco import COCOClicks, COCOClicksEval
from segkit.data.interactive.lvis import LVISClicks
from segkit.data.semantic.trash import Trash
from segkit.files import DataError
from tests.data.layouts import write_image
from tests.interactive.test_click_readers import cache  # noqa: F401

SQUARE = [[5, 5, 15, 5, 15, 15, 5, 15]]
ROW = dict(id=1, image_id=1, category_id=1, bbox=[5, 5, 10, 10], area=100, iscrowd=0, segmentation=SQUARE)
IMAGE = dict(id=1, file_name="a.jpg", height=40, width=50)
READERS = ("instances", "few", "clicks", "clicks_eval", "trash", "lvis_clicks")


def without(key):
    return {name: value for name, value in ROW.items() if name != key}


def write(root, rows=(ROW,), images=(IMAGE,), files=("a.jpg",)):
    """One file of annotations in the layouts of all readers."""
    content = dict(images=list(images), annotations=list(rows), categories=[dict(id=1, name="Paper")])
    for path in ("train.json", "train/lvis_train.json"):
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_text(json.dumps(content))
    for file in files:
        write_image(root / file, (40, 50))
        write_image(root / "train" / "images" / file, (40, 50))
    return root


def open_all(root, reader):
    """Opens a reader and reads its first sample with masks."""
    here = dict(annotations=str(root / "train.json"), images=str(root))
    if reader == "instances":
        dataset = COCOInstances(**here, boxes_only=False)
    elif reader == "few":
        dataset = FewInstances(COCOInstances(**here, boxes_only=False), 1, min_area=1)
    elif reader == "clicks":
        dataset = COCOClicks(**here)
    elif reader == "clicks_eval":
        dataset = COCOClicksEval(**here)
    elif reader == "trash":
        dataset = Trash(str(root))
    else:
        dataset = LVISClicks(str(root))
    return dataset, dataset.sample(0, np.random.default_rng(0))


def area_in(sample):
    """Pixels of the only object of a sample."""
    if "mask" in sample:
        return int((sample["mask"] > 0).sum())
    if "layers" in sample:
        return int((sample["layers"] > 0).sum())
    return int(coco_mask.area(sample["masks"]).sum())


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "row",
    [without("id"), ROW | dict(id=None), ROW | dict(iscrowd=None), ROW | dict(area=None), without("area"), ROW],
    ids=["no id", "null id", "null iscrowd", "null area", "no area", "whole"],
)
def test_what_may_be_missing(tmp_path, reader, row, cache):  # noqa: F811
    _, sample = open_all(write(tmp_path, [row]), reader)
    # LVIS' published reader counts the outline in
    assert area_in(sample) == (121 if reader == "lvis_clicks" else 100)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("row", [without("segmentation"), ROW | dict(segmentation=None)], ids=["none", "null"])
def test_masks_need_outlines(tmp_path, reader, row, cache):  # noqa: F811
    with pytest.raises(DataError, match=r"\.json, annotation 1: .*it has no segmentation"):
        open_all(write(tmp_path, [row]), reader)


BAD_OUTLINES = {
    "odd": ([[5, 5, 15, 5, 15, 15, 5]], "a polygon has 7 coordinates, an odd number"),
    "two corners": ([[5, 5, 15, 15]], "a polygon has 2 corners, fewer than 3"),
    "one bad of two": ([*SQUARE, [1, 1, 2, 2]], "a polygon has 2 corners, fewer than 3"),
    "nested": ([[[5, 5], [15, 5], [15, 15]]], "is no polygon"),
    "flat": ([5, 5, 15, 5, 15, 15], "is no polygon"),
    "text": ("outline", "neither polygons nor RLE"),
    "not finite": ([[5, 5, float("nan"), 5, 15, 15]], "a corner is not finite"),
    "another size": (dict(size=[50, 40], counts=[0, 2000]), "a mask of 40x50 pixels for an image of 50x40"),
    "does not fill": (dict(size=[40, 50], counts=[100, 900]), "add up to 1000, not to the 2000 pixels"),
    "too long": (dict(size=[40, 50], counts=[100, 9000]), "add up to 9100, not to the 2000 pixels"),
    "negative": (dict(size=[40, 50], counts=[2100, -100]), "add up to 2000, not to the 2000 pixels|negative"),
    "not whole": (dict(size=[40, 50], counts=[0.5, 1999.5]), "no list of whole numbers"),
    "no counts": (dict(size=[40, 50]), "'counts' is missing"),
    "compressed too short": (dict(size=[40, 50], counts="d3"), "add up to 116, not to the 2000"),
    "compressed damaged": (dict(size=[40, 50], counts="~~"), "run-length code is damaged"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", BAD_OUTLINES)
def test_outlines_have_their_shape(tmp_path, reader, name, cache):  # noqa: F811
    outline, message = BAD_OUTLINES[name]
    with pytest.raises(DataError, match=rf"\.json, annotation 1: the segmentation cannot be drawn.*({message})"):
        open_all(write(tmp_path, [ROW | dict(segmentation=outline)]), reader)


def test_all_bad_outlines_are_counted_at_once(tmp_path):
    rows = [ROW | dict(id=number, segmentation=[[1, 1, 2, 2]]) for number in range(3, 12)]
    with pytest.raises(DataError, match=r"annotation 3: .*; 8 more cannot, such as 4, 5, 6; correct or remove"):
        Trash(str(write(tmp_path, rows)))


def test_run_lengths_by_hand():
    """Uncompressed and compressed code of one mask draw the same pixels, and what does not fill it draws none."""
    mask = np.zeros((40, 50), np.uint8)
    mask[7:12, 3] = 1
    counts = [3 * 40 + 7, 5, 2000 - 3 * 40 - 12]  # columns first
    packed = coco_mask.encode(np.asfortranarray(mask))
    np.testing.assert_array_equal(draw(dict(size=[40, 50], counts=counts), 40, 50), mask)
    np.testing.assert_array_equal(draw(dict(size=[40, 50], counts=packed["counts"].decode()), 40, 50), mask)
    with pytest.raises(ValueError, match="add up to 132"):
        draw(dict(size=[40, 50], counts=counts[:2]), 40, 50)
    fewer = coco_mask.encode(np.asfortranarray(mask[:, :49]))
    with pytest.raises(ValueError, match="add up to 1960"):
        check_segmentation(dict(size=[40, 50], counts=fewer["counts"]), 40, 50)


@pytest.mark.parametrize("reader", READERS)
def test_ids_are_unique(tmp_path, reader, cache):  # noqa: F811
    """Two images of one id would both get the boxes of both; of two annotations of one id scores know only one."""
    files = ("a.jpg", "b.jpg")
    images = [IMAGE, IMAGE | dict(file_name="b.jpg")]
    with pytest.raises(DataError, match=r"\.json: 2 images have the id 1; each needs its own"):
        open_all(write(tmp_path, images=images, files=files), reader)
    with pytest.raises(DataError, match=r"\.json: 2 images have the id 1; each needs its own"):
        open_all(write(tmp_path, images=[IMAGE, IMAGE | dict(id="1", file_name="b.jpg")], files=files), reader)
    rows = [ROW, ROW, ROW | dict(id=2), ROW | dict(id=2), ROW]
    with pytest.raises(DataError, match=r"\.json: 3 annotations have the id 1 \(and 1 more ids occur twice"):
        open_all(write(tmp_path, rows), reader)


def test_missing_ids_get_free_numbers(tmp_path):
    rows = [without("id"), ROW | dict(id=7), without("id")]
    coco = read_coco(write(tmp_path, rows) / "train.json")
    assert [entry["id"] for entry in coco.annotations[1]] == [8, 7, 9]


@pytest.mark.parametrize(
    ("image", "row", "message"),
    [
        (IMAGE | dict(height=-1, width=-1), ROW, "image 1: height -1 and width -1 are no size"),
        (IMAGE | dict(height=40.5), ROW, "image 1: height = 40.5 is no whole number"),
        ({key: value for key, value in IMAGE.items() if key != "width"}, ROW, "image 1: 'width' is missing"),
        (IMAGE, ROW | dict(image_id="1"), r"is of image '1', .*text here and a number in the list \(1\)"),
        (IMAGE | dict(id="1"), ROW, r"is of image 1, .*a number here and text in the list \('1'\)"),
        (IMAGE, ROW | dict(category_id="1"), r"has category '1', .*text here and a number in the list \(1\)"),
        (IMAGE, ROW | dict(iscrowd=2), "annotation 1: iscrowd 2 must be 0 or 1"),
        (IMAGE, ROW | dict(area=float("nan")), "annotation 1: area nan must be a number"),
    ],
)
@pytest.mark.parametrize("reader", ["instances", "clicks", "trash", "lvis_clicks"])
def test_what_is_wrong_is_said(tmp_path, image, row, message, reader, cache):  # noqa: F811
    if reader in ("trash", "lvis_clicks") and ("iscrowd" in message or (reader == "lvis_clicks" and "area" in message)):
        pytest.skip("this reader does not ask for it")
    with pytest.raises(DataError, match=message):
        open_all(write(tmp_path, [row], [image]), reader)


@pytest.mark.parametrize("reader", ["instances", "clicks", "clicks_eval", "trash"])
@pytest.mark.parametrize(
    ("named", "stored"),
    [
        ("sub\\a.jpg", "sub/a.jpg"),
        ("caf\u00e9/a.jpg", unicodedata.normalize("NFD", "caf\u00e9/a.jpg")),
        (unicodedata.normalize("NFD", "stra\u00dfe\u00e9.jpg"), "stra\u00dfe\u00e9.jpg"),
        ("od\\d.jpg", "od\\d.jpg"),  # a backslash may also be a letter of the name
    ],
    ids=["backslash", "folder decomposed", "file composed", "literal"],
)
def test_names_from_other_systems(tmp_path, reader, named, stored):
    root = write(tmp_path, images=[IMAGE | dict(file_name=named)], files=[stored])
    dataset, sample = open_all(root, reader)
    assert dataset.path(0) == str(root / stored) and area_in(sample) == 100


def test_names_that_are_missing_or_lead_out(tmp_path):
    root = write(tmp_path, images=[IMAGE | dict(file_name="sub\\b.jpg")])
    with pytest.raises(DataError, match=r"1 of 1 images are missing: sub\\b\.jpg; .*train\.json.*taken for /"):
        open_all(root, "instances")
    for name in ("../a.jpg", "..\\a.jpg", "/etc/a.jpg"):
        root = write(tmp_path, images=[IMAGE | dict(file_name=name)])
        for reader in ("instances", "clicks", "trash"):
            with pytest.raises(DataError, match="outside of"):
                open_all(root, reader)


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"images": [], "images": [], "annotations": [], "categories": []}', "the key 'images' stands twice"),
        ('{"images": [{"id": 1, "id": 2}], "annotations": [], "categories": []}', "the key 'id' stands twice"),
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path, text, message):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_coco(tmp_path / "a.json")
