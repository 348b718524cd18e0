"""Supervisely: a project that its SDK wrote, and projects that are wrong."""

import base64
import json
import zlib

import cv2
import numpy as np
import pytest

from segkit.data.formats.supervisely import SuperviselyReader
from segkit.files import DataError
from tests.data.labelled import FIXTURES, copied, drawn, picture

SIZE = (40, 60)


def packed(mask):
    png = cv2.imencode(".png", np.asarray(mask, np.uint8))[1].tobytes()
    return base64.b64encode(zlib.compress(png)).decode()


def bitmap(data, origin=(1, 1)):
    return dict(classTitle="cat", geometryType="bitmap", bitmap=dict(data=data, origin=list(origin)))


def polygon(exterior, interior=(), **keys):
    return (
        dict(classTitle="cat", geometryType="polygon", points=dict(exterior=exterior, interior=list(interior))) | keys
    )


def written(tmp_path, *objects, dataset="ds0", name="a.jpg", size=SIZE):
    picture(tmp_path / dataset / "img" / "a.jpg", SIZE)
    (tmp_path / "meta.json").write_text(json.dumps(dict(classes=[dict(title="cat"), dict(title="dog")])))
    path = tmp_path / dataset / "ann" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(size=dict(height=size[0], width=size[1]), tags=[], objects=list(objects))))
    return tmp_path


def test_a_project_of_the_sdk(tmp_path):
    copied("supervisely", tmp_path / "project")
    (tmp_path / "project" / "drawn.npy").unlink()
    for name in ("a.jpg", "b.jpg"):
        picture(tmp_path / "project" / "ds0" / "img" / name, SIZE)
    assert SuperviselyReader.sniff(tmp_path) == "meta.json with 'classes' beside folders img and ann"
    reader = SuperviselyReader.open(tmp_path)
    assert reader.classes == ("cat", "dog", "bird", "rope", "nose")
    assert reader.lost == {"tags": 2, "lines": 1, "points": 1} and reader.notes == ("1 images have no labels",)
    cat, dog, bird = reader.item(0).shapes
    theirs = np.load(FIXTURES / "supervisely" / "drawn.npy")
    assert (drawn(bird, SIZE) == theirs[2]).all() and theirs[2].sum() == 20
    assert dog.box == (30, 20, 50, 35) and theirs[1].sum() == 20 * 15
    # corners are pixels: 18 x 15 between their middles, less 6 x 6; the SDK draws the pixels of the corners, too
    assert cat.outlines[0].tolist() == [[2.5, 3.5], [20.5, 3.5], [20.5, 18.5], [2.5, 18.5]]
    assert cat.holes[0].tolist() == [[6.5, 6.5], [12.5, 6.5], [12.5, 12.5], [6.5, 12.5]]
    assert not (drawn(cat, SIZE) & (theirs[0] == 0))[:6].any()
    assert not reader.item(1).is_labelled and reader.item(1).size == SIZE


def test_other_forms(tmp_path):
    first = dict(exterior=[[1.5, 1], [5, 1], [5, 5]], interior=[])
    second = dict(exterior=[[11, 1], [15, 1], [15, 5]], interior=[[[12, 1], [13, 1], [13, 2]]])
    plain = base64.b64encode(cv2.imencode(".png", np.full((2, 2), 255, np.uint8))[1].tobytes()).decode()
    old = bitmap(packed([[0, 0, 0, 9]]), (58, 0))
    del old["geometryType"]
    several = dict(classTitle="dog", geometryType="multipolygon", parts=[first, second])
    unknown = dict(classTitle="cat", geometryType="mask_3d")
    rows = (several, bitmap(plain, (0, 0)), old, polygon([[1, 1], [2, 2]]), unknown)
    written(tmp_path, *rows, name="a", dataset="train")
    written(tmp_path, dataset="val")
    reader = SuperviselyReader.open(tmp_path)
    assert reader.lost == {"outlines of fewer than 3 corners": 1, "objects of the form 'mask_3d'": 1}
    assert reader.splits == {"train": [0], "val": [1]}
    dog, cat, outside = reader.item(0).shapes
    assert dog.outlines[0].tolist() == [[1.5, 1], [5, 1], [5, 5]]  # with a fraction: no numbers of pixels
    assert dog.outlines[1][0].tolist() == [11.5, 1.5] and len(dog.holes) == 1
    assert np.argwhere(drawn(cat, SIZE)).tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert not drawn(outside, SIZE).any()  # its one pixel lies at x = 61


BOMB = base64.b64encode(zlib.compress(bytes(100 << 20))).decode()


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (bitmap(BOMB), r"object 1 \('cat'\): its mask unfolds to more than 1,058,176 bytes"),
        (bitmap(packed(np.ones((50, 70)))), "a mask of 70x50 pixels for an image of 60x40"),
        (bitmap("eJ*"), "no base64"),
        (bitmap(base64.b64encode(b"abc").decode()), "cannot be unpacked"),
        (bitmap(base64.b64encode(zlib.compress(b"abc")).decode()), "cannot be decoded"),
        (bitmap(packed([[1]]), (1.5, 0)), "bitmap.origin = 1.5 must be a whole number"),
        (bitmap(packed([[1]]), (1,)), r"point 1 is \[1\]"),
        (dict(classTitle="cat", geometryType="bitmap"), "bitmap: None where an object"),
        (polygon([[1, 1], [2, float("inf")], [3, 3]]), "a corner is not finite"),
        (polygon([[1, 1], [2, 2], [3, 3]], [[[1, 1], [2, 2]]]), "a hole: a polygon has 2 corners"),
        (polygon([[1, 1], [2, 2], [3, 3]], classTitle=["cat"]), r"the label \['cat'\] is no name"),
        (polygon("abc"), "exterior is 'abc'"),
        (polygon([[1, 1], [2, 2], [3, 3]], geometryType="rectangle"), "where 2 points"),
    ],
)
def test_wrong_objects_are_named(tmp_path, entry, words):
    with pytest.raises(DataError, match=rf"a\.jpg\.json.*{words}"):
        SuperviselyReader.open(written(tmp_path, entry)).item(0)


def test_wrong_projects_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no meta\.json here or in one folder below; give the folder of the project"):
        SuperviselyReader.open(tmp_path)
    with pytest.raises(DataError, match=r"a\.jpg\.json, size: height 0 and width 60"):
        SuperviselyReader.open(written(tmp_path, size=(0, 60))).item(0)
    (tmp_path / "meta.json").write_text('{"classes": [{"title": null}]}')
    with pytest.raises(DataError, match=r"meta\.json, classes: the label None"):
        SuperviselyReader.open(tmp_path)
