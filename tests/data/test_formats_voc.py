"""Pascal VOC: its own layout, CVAT's and Roboflow's, files of another program, and files that are wrong."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from segkit.data.formats.draw import object_codes
from segkit.data.formats.voc import VocReader
from segkit.files import DataError
from tests.data.labelled import copied
from tests.data.layouts import write_image, write_mask

BOX = "<bndbox><xmin>6</xmin><ymin>3</ymin><xmax>15</xmax><ymax>12</ymax></bndbox>"


def xml(*objects, size="<size><width>50</width><height>40</height><depth>3</depth></size>"):
    return f"<annotation><filename>a.jpg</filename>{size}{''.join(objects)}</annotation>"


def thing(name="dog", box=BOX, more=""):
    return f"<object><name>{name}</name>{box}{more}</object>"


def write(root, text, name="a", folder="Annotations", images="JPEGImages"):
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / f"{name}.xml").write_text(text)
    write_image(root / images / f"{name}.jpg", (40, 50))


def test_boxes_are_counted_from_one_and_include_their_last_pixel(tmp_path):
    write(tmp_path, xml(thing(more="<difficult>1</difficult><part><name>head</name></part>"), thing("cat")))
    write(tmp_path, xml(thing("horse")), "b")
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    write(tmp_path, xml(thing("horse")), "b 2")  # a blank in a name, before which another image's name stands
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("b  1\nb 2\nc 2\n")
    (tmp_path / "ImageSets" / "Main" / "dog_train.txt").write_text("a  1\n")
    assert VocReader.sniff(tmp_path) == "a.xml with <annotation>"
    reader = VocReader.open(tmp_path)
    assert reader.classes == ("cat", "dog", "horse") and reader.splits == {"train": [0], "val": [2, 1]}
    assert reader.lost == {"difficult": 1, "parts of objects": 1}
    assert reader.notes == ("1 lines of ImageSets name no image and are left out: val.txt: c 2",)
    item = reader.item(0)
    # pixels 6..15 of 1..50 are the ten from 5 on, counted from 0
    assert item.size == (40, 50) and item.shapes[0].box == (5, 2, 15, 12) and item.shapes[0].label == "dog"


def test_files_of_programs_that_count_from_zero(tmp_path):
    # by tests/fixtures/pack_labelformat.py
    copied("labelformat/voc", tmp_path)
    for name in "ab":
        write_image(tmp_path / f"{name}.jpg", (40, 60))
    reader = VocReader.open(tmp_path)
    assert reader.classes == ("big dog", "cat") and "counted from 0" in reader.notes[0]
    assert [shape.box for shape in reader.item(0).shapes] == [(5, 5, 15, 15), (20, 20, 50, 30.25)]


def test_outlines_as_roboflow_writes_them(tmp_path):
    corners = "".join(f"<x{i}>{x}</x{i}><y{i}>{y}</y{i}>" for i, (x, y) in enumerate([(5, 2), (15, 2), (15, 12)], 1))
    write(tmp_path / "train", xml(thing("leaf", more=f"<polygon>{corners}</polygon>")), folder=".", images=".")
    write(tmp_path / "valid", xml(thing("leaf")), "b", folder=".", images=".")
    reader = VocReader.open(tmp_path)
    assert reader.splits == {"train": [0], "val": [1]}
    assert reader.item(0).shapes[0].outlines[0].tolist() == [[5, 2], [15, 2], [15, 12]]


def masks(root, classes, objects):
    write_mask(root / "SegmentationClass" / "a.png", classes, palette=True)
    write_mask(root / "SegmentationObject" / "a.png", objects, palette=True)
    write_image(root / "JPEGImages" / "a.jpg", np.shape(classes))


def test_masks_of_classes_and_objects(tmp_path):
    classes, objects = np.zeros((6, 8), np.uint8), np.zeros((6, 8), np.uint8)
    classes[0, :4], objects[0, :2], objects[0, 2:4] = 12, 1, 2
    classes[1, :4] = objects[1, :4] = 255
    masks(tmp_path, classes, objects)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "trainval.txt").write_text("a\n")
    reader = VocReader.open(tmp_path)
    item = reader.item(0)
    assert reader.classes[12] == "dog" and len(reader.classes) == 21 and reader.splits == {"trainval": [0]}
    assert (item.label_map == classes).all()
    areas = [int(coco_mask.area(code)) for code in object_codes(item)]
    assert [shape.label for shape in item.shapes] == ["dog", "dog"] and areas == [2, 2]


def test_export_of_cvat(tmp_path):
    """Its "Segmentation mask 1.1": colors of its own, named by labelmap.txt in its documented form."""
    colors, objects = np.zeros((6, 8, 3), np.uint8), np.zeros((6, 8, 3), np.uint8)
    colors[0, :4], objects[0, :2], objects[0, 2:4] = (51, 221, 255), (128, 0, 0), (0, 128, 0)
    colors[1] = (250, 50, 83)
    masks(tmp_path, colors[..., 0], objects[..., 0])
    Image.fromarray(colors).save(tmp_path / "SegmentationClass" / "a.png")
    Image.fromarray(objects).save(tmp_path / "SegmentationObject" / "a.png")
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "big leaf:51,221,255::", "stem:250,50,83:tip:"]
    (tmp_path / "labelmap.txt").write_text("\n".join(lines) + "\n")
    reader = VocReader.open(tmp_path)
    assert reader.classes == ("background", "big leaf", "stem")
    item = reader.item(0)
    assert item.label_map[:3, 0].tolist() == [1, 2, 0]
    assert [int(coco_mask.area(code)) for code in object_codes(item)] == [2, 2]
    colors[2, 3] = (1, 2, 3)
    Image.fromarray(colors).save(tmp_path / "SegmentationClass" / "a.png")
    with pytest.raises(DataError, match=r"SegmentationClass/a\.png: the color \(1, 2, 3\) at x=3, y=2"):
        reader.item(0)


def test_masks_whose_classes_nobody_names(tmp_path):
    write(tmp_path, xml(thing("leaf")))
    write_mask(tmp_path / "SegmentationClass" / "a.png", np.ones((40, 50), np.uint8), palette=True)
    with pytest.raises(DataError, match=r"classes such as leaf are not those of Pascal VOC.*add labelmap\.txt"):
        VocReader.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (xml(thing("")), "object 1: it has no <name>"),
        (xml(thing("cat"), thing(box="")), r"object 2 \('dog'\): <bndbox> .* must have xmin"),
        (xml(thing(box=BOX.replace("15", "x"))), "must have xmin, ymin, xmax and ymax"),
        (xml(thing(box=BOX.replace("15", "3"))), "has xmax < xmin"),
        (xml(thing(more="<polygon><x1>1</x1></polygon>")), "1 numbers, fewer than for 3 corners"),
        (xml(thing(), size="<size><width>9999999999</width><height>40</height></size>"), "is no size of an image"),
        ("<annotation>", "no usable XML"),
        ("<annotations></annotations>", "begins with <annotations>"),
        ('<!DOCTYPE a [<!ENTITY b "bbbbbbbb">]><annotation>&b;</annotation>', "declares a document type or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotation></annotation>', "declares a document type or entities"),
    ],
)
def test_wrong_files_are_named(tmp_path, text, message):
    write(tmp_path, text)
    with pytest.raises(DataError, match=rf"Annotations/a\.xml.*{message}"):
        VocReader.open(tmp_path).item(0)


def test_entities_that_unfold_are_refused_at_once(tmp_path):
    rows = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    write(tmp_path, f'<!DOCTYPE a [<!ENTITY a0 "aaaaaaaaaa">{rows}]><annotation>&a11;</annotation>')
    with pytest.raises(DataError, match="document type"):
        VocReader.open(tmp_path)


def test_labels_without_an_image_and_images_without_labels(tmp_path):
    write(tmp_path, xml(thing()))
    (tmp_path / "Annotations" / "gone.xml").write_text(xml(thing()))
    write_image(tmp_path / "JPEGImages" / "bare.jpg", (40, 50))
    reader = VocReader.open(tmp_path)
    assert len(reader) == 2 and not reader.item(1).is_labelled
    assert "1 label files have no image" in reader.notes[0] and "1 images have no labels" in reader.notes[1]
    (tmp_path / "JPEGImages" / "a.jpg").unlink()
    with pytest.raises(DataError, match="no image for 2 label files"):
        VocReader.open(tmp_path)
