"""labelme: a file that labelme wrote, files as people have them, and files that are wrong."""

import base64
import json
import zlib

import cv2
import numpy as np
import pytest

from segkit.data.formats.base import LabelledImage, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.labelme import LabelmeReader, LabelmeWriter
from segkit.files import DataError
from tests.data.labelled import FIXTURES, copied, drawn, picture

SIZE = (40, 60)
SQUARE = [[2, 2], [8, 2], [8, 8]]


def written(tmp_path, shapes, name="a", **keys):
    """A folder with an image and its labels."""
    picture(tmp_path / f"{name}.png", SIZE)
    content = dict(version="5.5.0", flags={}, shapes=shapes, imagePath=f"{name}.png", imageData=None)
    (tmp_path / f"{name}.json").write_text(json.dumps(content | dict(imageHeight=40, imageWidth=60) | keys))
    return tmp_path


def shape(label="cat", points=SQUARE, shape_type="polygon", **keys):
    return dict(label=label, points=points, shape_type=shape_type, group_id=None, flags={}) | keys


def png(mask):
    return base64.b64encode(cv2.imencode(".png", np.asarray(mask, np.uint8))[1].tobytes()).decode()


def test_a_file_of_labelme(tmp_path):
    picture(tmp_path / "images" / "a.png", SIZE)
    copied("labelme", tmp_path / "labels")
    assert LabelmeReader.sniff(tmp_path) == "1 of 1 files *.json looked at hold 'shapes' and 'imagePath'"
    reader = LabelmeReader.open(tmp_path)
    assert reader.classes == ("ball", "cat", "dog", "train") and len(reader) == 1
    # flags: of the image "blurred", of the ball "hidden"
    assert reader.lost == {"points": 1, "lines": 1, "flags": 2, "descriptions": 1}
    item = reader.item(0)
    assert item.path == tmp_path / "images" / "a.png" and item.size == SIZE and item.is_labelled
    assert [found.label for found in item.shapes] == ["cat", "dog", "ball", "cat", "train"]
    cat, dog, ball, mask, train = item.shapes
    assert cat.outlines[0].tolist() == [[2.5, 3.5], [20.25, 4], [18, 15.5], [3, 14]]
    assert dog.box == (30, 20, 50, 35) and not dog.outlines
    assert len(train.outlines) == 2
    objects = np.load(FIXTURES / "labelme" / "drawn.npy")[1]
    # masks are the same pixels; labelme draws outlines with the pixels that they touch, so that these are more
    assert (drawn(mask, SIZE) == (objects == 4)).all() and drawn(mask, SIZE).sum() == 20
    for number, found in ((1, cat), (3, ball), (5, train)):
        ours, theirs = drawn(found, SIZE), objects == number
        assert (ours & ~theirs).sum() < 0.04 * ours.sum() and theirs.sum() - ours.sum() < 0.6 * theirs.sum()
    assert drawn(ball, SIZE).sum() == pytest.approx(np.pi * 36, rel=0.03)


def test_an_image_is_found_by_its_name(tmp_path):
    """The path of another machine, or one out of the folder, is sought below the folder and nowhere else."""
    for path in ("C:\\Users\\me\\a.png", "/home/me/a.png", "../other/a.png"):
        written(tmp_path, [shape()], imagePath=path)
        assert LabelmeReader.open(tmp_path).item(0).path == tmp_path / "a.png"
    inner = written(tmp_path / "set", [shape()], imagePath="../../secret.png")
    (inner / "a.png").unlink()
    picture(tmp_path / "secret.png", SIZE)
    with pytest.raises(DataError, match=r"no labelled image below .*'?\.\./\.\./secret.png.*copy the images there"):
        LabelmeReader.open(inner)


def test_of_two_images_of_one_name_the_nearer_path_counts(tmp_path):
    for name in ("day", "night"):
        picture(tmp_path / name / "a.png", SIZE)
    labels = written(tmp_path / "labels", [shape()], imagePath="D:\\data\\night\\a.png")
    (labels / "a.png").unlink()
    assert LabelmeReader.open(tmp_path).item(0).path == tmp_path / "night" / "a.png"
    written(tmp_path / "labels", [shape()])
    (labels / "a.png").unlink()
    with pytest.raises(DataError, match=r"a.json: names the image 'a.png', which may be .*day/a.png, .*night/a.png"):
        LabelmeReader.open(tmp_path)


def test_images_without_labels_and_labels_without_images(tmp_path):
    written(tmp_path, [shape()])
    written(tmp_path, [], "b")
    picture(tmp_path / "c.png", SIZE)
    written(tmp_path, [shape("dog")], "d", imageData="iVBORw0KGgo=")
    (tmp_path / "d.png").unlink()
    (tmp_path / "coco.json").write_text('{"images": []}')
    reader = LabelmeReader.open(tmp_path)
    assert [path.name for path in reader.images] == ["a.png", "b.png", "c.png"]
    assert [reader.item(i).is_labelled for i in range(3)] == [True, True, False]
    assert [reader.is_labelled(i) for i in range(3)] == [True, True, False]
    assert reader.classes == ("cat",) and reader.item(2).size == SIZE
    assert "1 files *.json hold no labels of labelme: coco.json" in reader.notes
    assert "1 images have no labels" in reader.notes
    assert any("d.png (its pixels are in the label file alone: save the image" in note for note in reader.notes)


def test_groups(tmp_path):
    rows = [shape(group_id=1), shape("dog", group_id=1), shape(points=[[20, 2], [30, 2], [30, 8]], group_id=1)]
    rows += [shape(points=[[40, 30], [45, 32]], shape_type="rectangle", group_id=1), shape("__ignore__")]
    rows += [shape(points=[[9, 9], [10, 10]], shape_type="mask", mask=png([[1, 0], [0, 1]]), group_id=1)]
    rows += [shape(points=[[1, 1], [5, 1]])]
    reader = LabelmeReader.open(written(tmp_path, rows))
    cat, dog, ignored, mask = reader.item(0).shapes
    assert len(cat.outlines) == 3 and cat.outlines[2].tolist() == [[40, 30], [45, 30], [45, 32], [40, 32]]
    assert dog.label == "dog" and ignored.crowd and reader.classes == ("cat", "dog")
    assert np.argwhere(drawn(mask, SIZE)).tolist() == [[9, 9], [10, 10]]
    assert reader.lost == {
        "groups of outlines and masks, read as two objects each": 1, "outlines of fewer than 3 corners": 1
    }  # fmt: skip


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (shape(points=[[1, 2], [float("nan"), 2], [3, 3]]), "shape 1 .*a corner is not finite"),
        (shape(points=[[1, 2], [1e300, 2], [3, 3]]), "far outside"),
        (shape(points=[[1, 2], [10**400, 2], [3, 3]]), "shape 1"),
        (shape(points=[[1, 2], [1, 2, 3], [3, 3]]), r"corner 2 is \[1, 2, 3\]"),
        (shape(points=[[1, 2], ["a", 2], [3, 3]]), "no polygon"),
        (shape(points={"x": 1}), "where corners"),
        (shape(label=7), "the label 7 is no name of a class"),
        (shape(label=" "), "is no name of a class"),
        (shape(shape_type="spline"), "shape_type 'spline' is unknown; draw it as a polygon"),
        (shape(points=[[1, 1]], shape_type="circle"), "where 2 points"),
        (shape(points=[[1, 1], [1, 1]], shape_type="circle"), "radii .*remove it"),
        (shape(points=[[1, 1], [None, 1]], shape_type="rectangle"), "a coordinate of point 2 = None must be"),
        (shape(points=[[1, 1], [2, 2]], shape_type="mask", mask=png(np.ones((3, 3)))), "3x3 pixels in a frame of 2x2"),
        (shape(points=[[1, 1], [2, 2]], shape_type="mask", mask="%%"), "no base64"),
        (shape(points=[[1, 1], [2, 2]], shape_type="mask", mask=png(np.ones((99, 99)))), "99x99 pixels for an image"),
        (shape(flags=[1]), "flags: .*object with keys"),
        ("cat", "shapes, entry 1: 'cat' where an object"),
    ],
)
def test_wrong_objects_are_named(tmp_path, row, words):
    with pytest.raises(DataError, match=f"a.json.*{words}"):
        LabelmeReader.open(written(tmp_path, [row])).item(0)


def test_a_png_that_unfolds_is_refused(tmp_path):
    """The header of a picture of 60,000 x 60,000 pixels."""
    head = b"IHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + head + zlib.crc32(head).to_bytes(4, "big")
    row = shape(points=[[1, 1], [2, 2]], shape_type="mask", mask=base64.b64encode(bomb).decode())
    with pytest.raises(DataError, match=r"shape 1 \('cat'\): 60,000 x 60,000 pixels, more than"):
        LabelmeReader.open(written(tmp_path, [row])).item(0)


@pytest.mark.parametrize("keys", [dict(imagePath=3), dict(imageHeight=-1), dict(imageWidth=1e9), dict(flags=3)])
def test_wrong_heads_are_named(tmp_path, keys):
    with pytest.raises(DataError, match=r"a\.json"):
        LabelmeReader.open(written(tmp_path, [shape()], **keys)).item(0)


def test_there_and_back(tmp_path):
    ring = np.zeros(SIZE, bool)
    ring[5:15, 5:15] = True
    hole = np.array([[8.0, 8], [12, 8], [12, 12], [8, 12]])
    square = np.array([[5.0, 5], [15, 5], [15, 15], [5, 15]])
    far = np.array([[30.5, 5.25], [40, 5], [40, 15]])
    mask = ring.copy()
    mask[7, 7:9] = False
    shapes = (Shape("cat", (square, far)), Shape("ring", (square,), (hole,)), Shape("dog", mask=code_of(mask)),
              Shape("box", box=(1.5, 2.0, 30.25, 20.0)), Shape("cat", (far,)))  # fmt: skip
    writer = LabelmeWriter(tmp_path, ("box", "cat", "dog", "ring"))
    picture(tmp_path / "images" / "train" / "a.jpg", SIZE)
    picture(tmp_path / "images" / "train" / "b.jpg", SIZE)
    writer.add(LabelledImage(tmp_path / "x.jpg", SIZE, shapes), "train/a.jpg")
    writer.add(LabelledImage(tmp_path / "x.jpg", SIZE, is_labelled=False), "train/b.jpg")
    with pytest.raises(DataError, match=r"both would have the labels train/a\.json"):
        writer.add(LabelledImage(tmp_path / "x.jpg", SIZE), "train/a.png")
    with pytest.raises(DataError, match="outside of"):
        writer.add(LabelledImage(tmp_path / "x.jpg", SIZE), "../a.png")
    done = writer.close()
    assert (done.files, done.objects, dict(done.lost)) == (1, 5, {})
    reader = LabelmeReader.open(tmp_path)
    assert reader.classes == ("box", "cat", "dog", "ring") and not reader.lost
    back = reader.item(0)
    assert [found.label for found in back.shapes] == [given.label for given in shapes]
    for given, found in zip(shapes, back.shapes):
        assert given.box == found.box and (drawn(given, SIZE) == drawn(found, SIZE)).all()
    assert drawn(back.shapes[1], SIZE).sum() == 100 - 16 and drawn(back.shapes[2], SIZE).sum() == 98
    assert [outline.tolist() for outline in back.shapes[0].outlines] == [square.tolist(), far.tolist()]
    assert not reader.item(1).is_labelled


def test_a_map_of_classes_becomes_masks(tmp_path):
    classes = np.zeros(SIZE, np.uint8)
    classes[2:4, 3:6], classes[10, 10] = 1, 255
    writer = LabelmeWriter(tmp_path, ("background", "cat"))
    writer.add(LabelledImage(tmp_path / "x.png", SIZE, label_map=classes), "a.png")
    writer.close()
    picture(tmp_path / "images" / "a.png", SIZE)
    cat, ignored = LabelmeReader.open(tmp_path).item(0).shapes
    assert (drawn(cat, SIZE) == (classes == 1)).all() and not cat.crowd
    assert (drawn(ignored, SIZE) == (classes == 255)).all() and ignored.crowd
