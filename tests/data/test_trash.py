"""Trash: polygons and RLE of a COCO file drawn into semantic masks."""

import json

import numpy as np
import pytest

from segkit.data.semantic.trash import CLASSES, Trash
from segkit.files import DataError
from tests.data.layouts import write_image


def box(x0, y0, x1, y1):
    """A rectangle as a COCO polygon; pixels x0 <= x < x1 are inside."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def annotation(number, category, segmentation, area, image=1):
    return dict(id=number, image_id=image, category_id=category, segmentation=segmentation, area=area, iscrowd=0)


@pytest.fixture
def write(tmp_path):
    """-> a function that writes train.json of one 6x8 image with these annotations, and gives the root."""

    def writer(annotations, categories=None, images=None):
        write_image(tmp_path / "batch_01" / "0001.jpg")
        names = list(CLASSES[1:]) if categories is None else categories
        content = dict(
            images=images or [dict(id=1, file_name="batch_01/0001.jpg", height=6, width=8)],
            # ids start at 3, so that only names can place them
            categories=[dict(id=3 + i, name=name) for i, name in enumerate(names)],
            annotations=annotations,
        )
        (tmp_path / "train.json").write_text(json.dumps(content))
        return str(tmp_path)

    return writer


def test_polygons_by_hand(write):
    trash = Trash(write([annotation(1, 4, box(1, 2, 4, 5), 9)]))
    expected = np.zeros((6, 8), np.uint8)
    expected[2:5, 1:4] = 2  # Paper is the second category
    assert np.array_equal(trash.mask(0), expected)
    assert trash.classes[2] == "Paper" and len(trash.classes) == len(trash.palette) == 11
    assert trash.sample(0, np.random.default_rng(0))["image"].shape == (6, 8, 3)


def test_small_objects_stay_on_top_of_large_ones(write):
    small, large = annotation(1, 12, box(2, 2, 4, 4), 4), annotation(2, 3, box(0, 0, 6, 6), 36)
    for order in ([small, large], [large, small]):
        mask = Trash(write(order)).mask(0)
        assert (mask[2:4, 2:4] == 10).all() and (mask == 1).sum() == 32


def test_of_equal_areas_the_later_wins(write):
    pair = [annotation(1, 4, box(0, 0, 4, 4), 16), annotation(2, 5, box(2, 0, 6, 4), 16)]
    mask = Trash(write(pair)).mask(0)
    assert (mask[:4, 2:6] == 3).all() and (mask[:4, :2] == 2).all()


def test_rle_plain_and_compressed(write):
    from pycocotools import mask as coco_mask

    area = np.zeros((6, 8), np.uint8)
    area[1:3, 2] = 1
    # columns first: two columns of 6 and one pixel are 0, then two pixels are 1, then 33 are 0
    plain = dict(size=[6, 8], counts=[13, 2, 33])
    packed = coco_mask.encode(np.asfortranarray(area))
    packed["counts"] = packed["counts"].decode()
    for segmentation in (plain, packed):
        mask = Trash(write([annotation(1, 11, segmentation, 2)])).mask(0)
        assert np.array_equal(mask, area * 9)


def test_an_empty_outline_draws_nothing(write):
    assert not Trash(write([annotation(1, 3, [], 0)])).mask(0).any()


def test_areas_that_are_missing_are_those_of_the_outlines(write):
    """A small object with an area and a large one without, or with null: the large one is painted first."""
    small, large = annotation(1, 12, box(2, 2, 4, 4), 4), annotation(2, 3, box(0, 0, 6, 6), None)
    bare = {key: value for key, value in large.items() if key not in ("area", "id", "iscrowd")}
    for other in (large, bare, large | dict(iscrowd=None)):
        mask = Trash(write([small, other])).mask(0)
        assert (mask[2:4, 2:4] == 10).all() and (mask == 1).sum() == 32


def test_names_match_without_case_and_unknown_ones_need_a_place(write):
    names = ["UNKNOWN", "Paper_pack", "plastic-bag"]
    rows = [
        annotation(1, 4, box(0, 0, 2, 2), 4),
        annotation(2, 5, box(4, 4, 6, 6), 4),
        annotation(3, 3, box(4, 0, 6, 2), 4),
    ]
    with pytest.raises(DataError, match=r"category 'UNKNOWN' is no class.*category_map={'UNKNOWN': 'ignore'}"):
        Trash(write(rows, names))
    trash = Trash(write(rows, names), category_map={"UNKNOWN": "ignore"})
    assert [trash.mask(0)[y, x] for y, x in ((0, 0), (4, 4), (0, 4), (5, 0))] == [3, 8, 255, 0]
    assert Trash(write(rows, names), category_map={"UNKNOWN": "General trash"}).mask(0)[0, 4] == 1


def test_test_split_without_annotations(write):
    trash = Trash(write([]))
    assert not trash.has_mask(0) and "mask" not in trash.sample(0, np.random.default_rng(0))


def test_errors(write, tmp_path):
    with pytest.raises(DataError, match=r"train\.json: No such file"):
        Trash(str(tmp_path))
    root = write([annotation(1, 99, box(0, 0, 1, 1), 1)])
    with pytest.raises(DataError, match="annotation 1 has category 99"):
        Trash(root)
    with pytest.raises(DataError, match="annotation 7 is of image 5"):
        Trash(write([annotation(7, 3, [], 1, image=5)]))
    with pytest.raises(DataError, match=r"1 of 1 images are missing: gone\.jpg"):
        Trash(write([], images=[dict(id=1, file_name="gone.jpg", height=6, width=8)]))
    with pytest.raises(DataError, match=r"annotation 1: the segmentation cannot be drawn"):
        Trash(write([annotation(1, 3, [["a"] * 6], 1)]))
    (tmp_path / "train.json").write_text("{")
    with pytest.raises(DataError, match="no valid JSON"):
        Trash(root)
    (tmp_path / "train.json").write_text("[]")
    with pytest.raises(DataError, match="no COCO annotations"):
        Trash(root)
    wrong = write(
        [annotation(1, 3, box(0, 0, 1, 1), 1)], images=[dict(id=1, file_name="batch_01/0001.jpg", height=8, width=6)]
    )
    with pytest.raises(DataError, match="mask of 6x8 pixels for an image of 8x6"):
        Trash(wrong).sample(0, np.random.default_rng(0))
