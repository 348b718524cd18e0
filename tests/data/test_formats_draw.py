"""From objects to pixels and back, and finding out the format of a folder."""

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.data.formats.base import LabelledImage, Shape
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.draw import draw_classes, object_codes, objects_of, outlines_of
from segkit.data.formats.known import READERS, open_labels
from segkit.files import DataError
from tests.data.layouts import write_image

CLASSES = ("background", "cat", "dog")


def square(x0, y0, x1, y1):
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64)


def image(*shapes, size=(20, 30)):
    return LabelledImage(Path("a.jpg"), size, shapes)


def test_small_objects_lie_above_large_ones_and_overlaps_are_counted():
    small, large = Shape("cat", (square(2, 2, 6, 6),)), Shape("dog", (square(4, 0, 14, 10),))
    for shapes in ((small, large), (large, small)):
        drawn = draw_classes(image(*shapes), CLASSES)
        # 4 x 4 pixels of the cat, 10 x 10 of the dog, of which 2 x 4 are the cat's
        assert np.bincount(drawn.label_map.ravel()).tolist() == [600 - 16 - 92, 16, 92]
        assert drawn[1:] == (8, 1, 0)
    same = draw_classes(image(small, Shape("cat", (square(4, 0, 14, 10),))), CLASSES)
    assert same[1:] == (0, 0, 0)


def test_of_equal_areas_the_later_one_lies_above():
    first, second = Shape("cat", (square(0, 0, 4, 4),)), Shape("dog", (square(2, 0, 6, 4),))
    assert draw_classes(image(first, second), CLASSES).label_map[0, :7].tolist() == [1, 1, 2, 2, 2, 2, 0]
    assert draw_classes(image(second, first), CLASSES).label_map[0, :7].tolist() == [1, 1, 1, 1, 2, 2, 0]


def test_the_order_of_the_file_counts_where_it_says_so():
    small, large = Shape("cat", (square(2, 2, 6, 6),)), Shape("dog", (square(4, 0, 14, 10),))
    below = draw_classes(replace(image(small, large), in_order=True), CLASSES)
    # the dog lies above now: 2 x 4 pixels of the cat are its
    assert np.bincount(below.label_map.ravel()).tolist() == [600 - 8 - 100, 8, 100] and below[1:] == (8, 1, 0)
    above = draw_classes(replace(image(large, small), in_order=True), CLASSES)
    assert np.bincount(above.label_map.ravel()).tolist() == [600 - 16 - 92, 16, 92]


def test_crowds_are_of_their_class_below_objects_and_boxes_are_counted():
    crowd = Shape("dog", (square(0, 0, 4, 2),), crowd=True)
    shapes = (Shape("cat", (square(2, 0, 6, 6),)), crowd, Shape("cat", box=(0, 0, 3, 3)))
    drawn = draw_classes(image(*shapes), CLASSES)
    assert drawn.label_map[0, :7].tolist() == [2, 2, 1, 1, 1, 1, 0] and drawn.boxes == 1
    assert drawn.overlapped_pixels == 0  # a crowd is what its objects are not
    above = draw_classes(replace(image(*shapes), in_order=True), CLASSES)
    assert above.label_map[0, :7].tolist() == [2, 2, 2, 2, 1, 1, 0]  # as Cityscapes draws its groups
    assert draw_classes(image(Shape("nobody", (square(0, 0, 4, 2),), crowd=True)), CLASSES).label_map[0, 0] == 255


def test_holes_are_cut_out():
    shape = Shape("cat", (square(0, 0, 10, 10), square(12, 0, 14, 2)), (square(3, 3, 5, 6),))
    mask = coco_mask.decode(object_codes(image(shape))[0])
    assert mask.sum() == 100 + 4 - 6 and not mask[3:6, 3:5].any()


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape("cat", (square(0, 0, 4, 4)[:2],)), "2 corners, fewer than 3"),
        (Shape("cat", mask=code_of(np.ones((4, 4)))), "a mask of 4x4 pixels for an image of 30x20"),
        (Shape("cow", (square(0, 0, 4, 4),)), "no such class"),
    ],
)
def test_what_cannot_be_drawn_is_named(shape, message):
    with pytest.raises(DataError, match=rf"a\.jpg, object 2 \('c.*{message}"):
        draw_classes(image(Shape("dog", box=(0, 0, 1, 1)), shape), CLASSES)


def test_outlines_of_a_mask_draw_it_again():
    rng = np.random.default_rng(0)
    for _ in range(60):
        mask = rng.random(rng.integers(1, 16, 2)) < rng.choice([0.2, 0.5, 0.9])
        if mask.any():
            pieces, holes = outlines_of(code_of(mask))
            shape = Shape("cat", tuple(pieces), tuple(holes))
            assert (coco_mask.decode(object_codes(image(shape, size=mask.shape))[0]) == mask).all()
    ring = np.ones((6, 6), bool)
    ring[2:4, 2:4] = False
    pieces, holes = outlines_of(code_of(ring))
    assert [part.tolist() for part in pieces] == [[[0, 0], [6, 0], [6, 6], [0, 6]]] or len(pieces[0]) == 4
    assert sorted(map(tuple, holes[0].tolist())) == [(2, 2), (2, 4), (4, 2), (4, 4)]


def test_regions_of_a_map_are_objects():
    label_map = np.zeros((6, 8), np.uint8)
    label_map[0, :2], label_map[2, 3:5], label_map[5, 7], label_map[4, 0] = 1, 1, 2, 255
    found = objects_of(LabelledImage(Path("a.jpg"), (6, 8), label_map=label_map), CLASSES)
    assert [(shape.label, int(coco_mask.area(shape.mask))) for shape in found] == [("cat", 2), ("cat", 2), ("dog", 1)]


def test_errors_of_finding_the_format(tmp_path):
    write_image(tmp_path / "none" / "a.jpg")
    with pytest.raises(
        DataError, match=r"none: labels of no known format; looked for: .*coco, yolo, voc.*format=\.\.\."
    ):
        open_labels(tmp_path / "none")
    with pytest.raises(DataError, match="no such folder or file"):
        open_labels(tmp_path / "gone")
    with pytest.raises(DataError, match="format = 'coko': no such format; did you mean 'coco'"):
        open_labels(tmp_path / "none", "coko")
    both = tmp_path / "both"
    write_image(both / "a.jpg")
    (both / "data.yaml").write_text("names: [cat]\n")
    (both / "a.xml").write_text("<annotation><filename>a.jpg</filename></annotation>")
    with pytest.raises(DataError, match=r"several formats fit: yolo \(.*; voc \(.*; choose one by format='yolo'"):
        open_labels(both)
    assert open_labels(both, "voc").format == "voc"
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with pytest.raises(DataError, match=r"a\.zip: a zip archive; unpack it"):
        open_labels(tmp_path / "a.zip")


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.format)
def test_a_folder_without_labels_is_refused_with_a_sentence(tmp_path, reader):
    (tmp_path / "notes.txt").write_text("nothing\n")
    with pytest.raises(DataError, match=str(tmp_path)):
        reader.open(tmp_path)
