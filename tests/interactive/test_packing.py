"""Masks in layers and the family of masks, against published outputs and by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from segkit.data.interactive.packing import box_iou_1d, hierarchy, masks_overlap, pack_masks
from segkit.runners.interactive.zoom import Box, expand
from tests.interactive.made import box

FOLDER = Path(__file__).parents[1] / "fixtures/ritm"


@pytest.fixture(scope="module")
def published():
    with np.load(FOLDER / "packing.npz") as arrays:
        shape = arrays["masks_shape"]
        masks = np.unpackbits(arrays["masks"])[: np.prod(shape)].reshape(shape).astype(bool)
        return json.loads((FOLDER / "packing.json").read_text()) | dict(masks=masks, layers=arrays["layers"])


def test_layers_are_the_published_ones(published):
    layers, places = pack_masks(list(published["masks"]))
    np.testing.assert_array_equal(np.stack(layers), published["layers"])
    assert [list(place) for place in places] == published["objs_mapping"]


def test_the_family_is_the_published_one(published):
    found = hierarchy(list(published["masks"]))
    assert list(found) == list(range(10))
    for index, node in found.items():
        wanted = published["hierarchy"][str(index)]
        is_alone = not wanted["children"] and wanted["parent"] is None
        assert node == (None if is_alone else wanted)


def test_boxes_compare_and_grow_as_published(published):
    for a, b, wanted in published["bbox_iou_cases"]:
        assert box_iou_1d(a, b) == pytest.approx(wanted)
    for given, ratio, least, wanted in published["expand_bbox_cases"]:
        assert expand(Box(*given), ratio, least or 0) == tuple(wanted)


def test_layers_hold_what_was_packed():
    """Random rectangles: every mask is found again, none covers another, also where 255 fill a layer."""
    rng = np.random.default_rng(0)
    masks = [box((24, 20), y, x, y + h, x + w).astype(bool) for y, x, h, w in rng.integers(0, 12, (20, 4))]
    layers, places = pack_masks(masks)
    assert [
        np.array_equal(layers[layer] == value, mask) for (layer, value), mask in zip(places, masks) if mask.any()
    ].count(False) == 0
    assert len(set(places)) == 20
    dots = [np.arange(300).reshape(15, 20) == i for i in range(300)]
    layers, places = pack_masks(dots)
    assert len(layers) == 2 and layers[0].max() == 255 and layers[1].max() == 45
    assert all((layers[layer] == value).sum() == 1 for layer, value in places)
    assert pack_masks([]) == ([], [])


def test_equal_masks_and_chains():
    """Of equal masks the last is the whole; a chain of nested squares has one level more each."""
    mask = box((20, 20), 3, 3, 9, 9).astype(bool)
    assert hierarchy([mask, mask]) == {
        0: dict(children=[], parent=1, node_level=1),
        1: dict(children=[0], parent=None, node_level=0),
    }
    nested = [box((20, 20), i, i, 20 - i, 20 - i).astype(bool) for i in (4, 0, 7)]
    assert [node["node_level"] for node in hierarchy(nested).values()] == [1, 0, 2]
    assert hierarchy([]) == {} and hierarchy([mask, np.zeros_like(mask)]) == {0: None, 1: None}


def test_the_limits_of_a_part():
    """.8 of its pixels are not enough, .7 of its box are."""
    whole = box((40, 40), 0, 0, 20, 40).astype(bool)
    assert hierarchy([whole, box((40, 40), 12, 0, 22, 10).astype(bool)]) == {0: None, 1: None}  # 80 of 100
    assert hierarchy([whole, box((40, 40), 12, 0, 21, 10).astype(bool)])[1]["parent"] == 0  # 80 of 90
    part = box((40, 40), 13, 0, 20, 10).astype(bool)
    part[22, 0] = True  # box of 10 rows, 7 of them inside; 70 of 71 pixels
    assert hierarchy([whole, part])[1]["parent"] == 0
    part[23, 0] = True  # 7 of 11 rows
    assert hierarchy([whole, part])[1] is None


def test_two_masks_of_one_object():
    """10 x 10 against 8 x 10 of it: both overlaps are .8."""
    a, b = (box((20, 20), 2, 2, 2 + n, 12).astype(bool) for n in (10, 8))
    assert masks_overlap(a, b) and masks_overlap(b, a, box_iou=0.79, mask_iou=0.79)
    assert not masks_overlap(a, b, mask_iou=0.8) and not masks_overlap(a, b, box_iou=0.8)
    assert not masks_overlap(a, np.zeros_like(a)) and not masks_overlap(a, box((20, 20), 14, 14, 18, 18).astype(bool))
