"""YOLO: the layouts of ultralytics and Roboflow, files of another program, and rows that are wrong."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from segkit.data.formats.draw import object_codes
from segkit.data.formats.yolo import YoloReader
from segkit.files import DataError
from tests.data.labelled import copied
from tests.data.layouts import write_image


def write(root, text="1 0.5 0.5 0.2 0.4\n", image="images/a.jpg", label="labels/a.txt"):
    write_image(root / image, (40, 50))
    (root / label).parent.mkdir(parents=True, exist_ok=True)
    (root / label).write_text(text)


YAMLS = {
    "ultralytics": (
        "path: ../datasets/set\ntrain: images/train\nval: images/val\nnames:\n  0: cat\n  1: dog\n",
        "images/{}",
    ),
    "roboflow": ("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['cat', 'dog']\n", "{}/images"),
    "foreign": (
        "path: C:\\data\\set\ntrain: /home/me/set/train/images\nval: valid\\images\nnames: [cat, dog]\n",
        "{}/images",
    ),
    "list": ("train: train.txt\nval: val.txt\nnames: [cat, dog]\n", "images/{}"),
    "several": ("train: [images/train]\nval: [images/val]\nnames: [cat, dog]\n", "images/{}"),
}


@pytest.mark.parametrize("layout", YAMLS)
def test_layouts(tmp_path, layout):
    """Those of the documentation of ultralytics, of Roboflow's exports, and paths of another machine."""
    text, folder = YAMLS[layout]
    (tmp_path / "data.yaml").write_text(text)
    for split, name in (("train", "a"), ("valid" if folder.startswith("{") else "val", "b")):
        images = folder.format(split)
        write(tmp_path, image=f"{images}/{name}.jpg", label=f"{images.replace('images', 'labels')}/{name}.txt")
    for split, name in (("train", "a"), ("val", "b")):
        (tmp_path / f"{split}.txt").write_text(f"./images/{split}/{name}.jpg\n")
    assert YoloReader.sniff(tmp_path) == "data.yaml with class names"
    reader = YoloReader.open(tmp_path)
    assert reader.classes == ("cat", "dog") and reader.splits == {"train": [0], "val": [1]}
    (shape,) = reader.item(1).shapes
    # centre (25, 20), sides 10 and 16
    assert shape.label == "dog" and shape.box == pytest.approx((20, 12, 30, 28)) and not shape.outlines


def test_outlines_and_what_has_no_objects(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images\nval: images\nnames: [cat, dog]\n")
    write(tmp_path, "0 0.1 0.1 0.3 0.1 0.3 0.5 0.1 0.5\n\n1 0 0 1.001 0 1 1\n")
    write(tmp_path, "", "images/b.jpg", "labels/b.txt")
    write_image(tmp_path / "images" / "c.jpg", (40, 50))
    reader = YoloReader.open(tmp_path)
    assert reader.splits == {} and len(reader) == 3
    assert "1 images have no label file, which YOLO takes for background" in reader.notes[0]
    first = reader.item(0)
    assert first.shapes[0].outlines[0].tolist() == [[5, 4], [15, 4], [15, 20], [5, 20]]
    assert coco_mask.area(object_codes(first)[0]) == 10 * 16
    assert all(reader.item(i).is_labelled and not reader.item(i).shapes for i in (1, 2))


def test_sizes_are_those_of_turned_pictures(tmp_path):
    write(tmp_path)
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(np.zeros((40, 50, 3), np.uint8)).save(tmp_path / "images" / "a.jpg", exif=exif)
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    item = YoloReader.open(tmp_path).item(0)
    assert item.size == (50, 40) and item.shapes[0].box == pytest.approx((16, 15, 24, 35))


def test_without_a_yaml_file(tmp_path):
    # as Label Studio and labelImg export it
    write(tmp_path)
    assert YoloReader.sniff(tmp_path) is None
    with pytest.raises(DataError, match=r"no data\.yaml and no classes\.txt here"):
        YoloReader.open(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\nbig dog\n")
    assert YoloReader.sniff(tmp_path) == "labels/a.txt with rows of a class and numbers"
    assert YoloReader.open(tmp_path).item(0).shapes[0].label == "big dog"


def test_keypoints_are_counted(tmp_path):
    (tmp_path / "data.yaml").write_text("train: images\nkpt_shape: [2, 3]\nnames: [cat]\n")
    write(tmp_path, "0 0.5 0.5 0.2 0.4 0.1 0.1 2 0.2 0.2 1\n")
    reader = YoloReader.open(tmp_path)
    assert reader.item(0).shapes[0].box == pytest.approx((20, 12, 30, 28)) and reader.lost == {"keypoints": 1}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2 0.5 0.5 0.2 0.4", r"class 2 is none of 0, 1, which .*data\.yaml names"),
        ("0.5 0.5 0.5 0.2 0.4", r"class 0\.5 is none"),
        ("cat 0.5 0.5 0.2 0.4", "is no row of numbers"),
        ("0 25 20 10 16", "25 is no share of the image's side"),
        ("0 0.5 0.5 0.2", "3 numbers after the class"),
        ("0 0.5 0.5 0.2 0.4 0.9", "5 numbers after the class"),
        ("0 0.5 nan 0.2 0.4", "nan is no share"),
    ],
)
def test_wrong_rows_name_file_and_line(tmp_path, row, message):
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat, dog]\n")
    write(tmp_path, f"\n{row}\n")
    with pytest.raises(DataError, match=rf"labels/a\.txt, line 2: .*{message}"):
        YoloReader.open(tmp_path).item(0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: images\nnames: []\n", "names: must be a list of class names"),
        ("train: images\nnames: [cat, cat]\n", "the class 'cat' stands twice"),
        ("train: images\nnc: 2\n", "it names no classes"),
        ("train: pictures\nnames: [cat]\n", r"train: 'pictures' is not below"),
        ("train: 5\nnames: [cat]\n", "train: 5 is no path"),
        ("train: labels\nnames: [cat]\n", "no images in the folders of train"),
    ],
)
def test_wrong_yaml_files(tmp_path, text, message):
    write(tmp_path)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=rf"data\.yaml: .*{message}"):
        YoloReader.open(tmp_path)


def test_paths_never_lead_out_of_the_folder(tmp_path):
    write(tmp_path / "other")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "data.yaml").write_text(f"train: {tmp_path}/other/images\nnames: [cat, dog]\n")
    with pytest.raises(DataError, match="is not below"):
        YoloReader.open(tmp_path / "set")


def test_files_that_labelformat_wrote(tmp_path):
    # by tests/fixtures/pack_labelformat.py; classes are counted from 1 there, and pieces joined to one outline
    copied("labelformat/yolo", tmp_path)
    for name in "ab":
        write_image(tmp_path / "images" / f"{name}.jpg", (40, 60))
    reader = YoloReader.open(tmp_path)
    assert reader.classes == ("cat", "big dog") and reader.splits == {"train": [0, 1]}
    cat, dog = reader.item(0).shapes
    assert (cat.label, dog.label) == reader.classes
    assert np.allclose(cat.outlines[0], [[5, 5], [15, 5], [15, 15], [5, 15], [5, 5]])
    assert coco_mask.area(object_codes(reader.item(1))[0]) == 100
