"""segkit convert-labels: every format into every other, equal where nothing is lost, and a count of what is."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.cli.main import main
from segkit.data.formats.bitmaps import code_of
from segkit.data.formats.draw import draw_classes, object_codes, pixel_classes
from segkit.data.formats.known import WRITERS, open_labels
from tests.data.labelled import copied
from tests.data.layouts import rows, write_image, write_mask

CATEGORIES = [dict(id=1, name="cat"), dict(id=2, name="big dog")]
SQUARE = dict(category_id=1, bbox=[5, 5, 10, 10], segmentation=[[5, 5, 15, 5, 15, 15, 5, 15]])
DOG = dict(category_id=2, bbox=[20, 10, 20, 20], segmentation=[[20, 10, 40, 10, 40, 30, 20, 30]])


def write_coco(root, rows_of, size=(40, 50)):
    """{split: annotations of its one image}; the image of a split is named after it."""
    for split, annotations in rows_of.items():
        write_image(root / split / f"{split}.jpg", size)
        images = [dict(id=0, file_name=f"{split}.jpg", height=size[0], width=size[1])]
        entries = [dict(id=i, image_id=0, iscrowd=0) | row for i, row in enumerate(annotations)]
        content = dict(images=images, annotations=entries, categories=CATEGORIES)
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def convert(*words):
    return main(["convert-labels", *map(str, words)])


def content_of(root):
    """{split: (objects by class and mask, map of classes, image's bytes)} of a folder with an image in each split."""
    reader = open_labels(root)
    found = {}
    for split, (index,) in reader.splits.items():
        item = reader.item(index)
        masks = [coco_mask.decode(code) for code in object_codes(item)]
        objects = [(shape.label, mask.tobytes()) for shape, mask in zip(item.shapes, masks)]
        classes = pixel_classes(reader)
        label_map = draw_classes(item, classes).label_map
        named = [classes[label] if label < len(classes) else "ignored" for label in label_map.ravel()]
        found[split] = sorted(objects), named, Path(item.path).read_bytes()
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A set of which no format that knows objects loses anything: squares of whole pixels that do not touch."""
    return write_coco(tmp_path_factory.mktemp("plain"), {"train": [SQUARE, DOG], "valid": [SQUARE]})


@pytest.mark.parametrize("first", ["coco", "yolo", "voc", "labelme"])
@pytest.mark.parametrize("second", ["coco", "yolo", "voc", "labelme"])
def test_round_trips_are_equal_where_nothing_is_lost(plain, tmp_path, first, second, capsys):
    assert convert(plain, tmp_path / "a", "--to", first) == 0
    assert convert(tmp_path / "a", tmp_path / "b", "--to", second) == 0
    output = capsys.readouterr().out
    if "labelme" in (first, second):
        # its files know no splits
        assert len(open_labels(tmp_path / "b")) == 2
        return
    assert output.count("lost: nothing") == 2, output
    assert content_of(tmp_path / "b") == content_of(plain)


@pytest.mark.parametrize("to", ["coco", "yolo", "voc", "masks"])
def test_maps_survive(plain, tmp_path, to):
    assert convert(plain, tmp_path / "a", "--to", "masks") == 0
    assert convert(tmp_path / "a", tmp_path / "b", "--to", to) == 0
    assert {split: row[1] for split, row in content_of(tmp_path / "b").items()} == {
        split: row[1] for split, row in content_of(plain).items()
    }


def test_what_is_lost_is_counted(tmp_path, capsys):
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 25:45] = 1
    mask[12:14, 30:33] = 0
    packed = code_of(mask)
    holed = DOG | dict(segmentation=dict(size=[40, 50], counts=packed["counts"].decode()))
    pieces = SQUARE | dict(segmentation=[*SQUARE["segmentation"], [1, 30, 4, 30, 4, 35]], keypoints=[1, 1, 2])
    crowd = DOG | dict(iscrowd=1, segmentation=[[0, 38, 50, 38, 50, 40, 0, 40]])
    over = DOG | dict(segmentation=[[10, 5, 22, 5, 22, 20, 10, 20]])
    root = write_coco(tmp_path / "src", {"train": [pieces, holed, crowd, over], "valid": []})
    lost = {}
    for to in (writer.format for writer in WRITERS):
        assert convert(root, tmp_path / to, "--to", to) == 0
        lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
        lost[to] = {line.split(" ", 2)[2]: int(line.split()[1]) for line in lines if line.startswith("lost: ")}
    shared = "pixels that objects of several classes share, which the upper one has"
    label = "images without labels, which are left out"
    assert lost["coco"] == {"keypoints": 1, label: 1}
    assert lost["yolo"] == {
        "keypoints": 1,
        label: 1,
        "holes in objects": 1,
        "crowds": 1,
        "objects in several pieces, each of which is an object now": 1,
    }
    # the second dog covers 5 x 10 pixels of the cat
    assert lost["voc"] == {"keypoints": 1, label: 1, "crowds, whose pixels are ignored": 1, shared: 50}
    assert lost["masks"] == {
        "keypoints": 1,
        label: 1,
        "marks of crowds, whose pixels are of their class": 1,
        shared: 50,
        "objects that are no longer told apart from others of their class": 3,
    }
    assert (
        draw_classes(open_labels(tmp_path / "masks").item(0), ("background", "cat", "big dog")).label_map[38:] == 2
    ).all()


def test_lists_name_labelled_images_alone(tmp_path):
    root = write_coco(tmp_path / "src", {"train": [SQUARE], "valid": []})
    assert convert(root, tmp_path / "voc", "--to", "voc") == 0
    assert [path.name for path in (tmp_path / "voc" / "ImageSets" / "Main").iterdir()] == ["train.txt"]
    assert convert(root, tmp_path / "yolo", "--to", "yolo") == 0
    assert open_labels(tmp_path / "yolo").splits == {"train": [0]}


def test_what_is_said(plain, tmp_path, capsys):
    assert convert(plain, tmp_path / "out", "--to", "yolo", "--copy") == 0
    output = capsys.readouterr().out
    assert "read: coco (_annotations.coco.json" in output
    assert "2 images, 2 classes: cat, big dog; splits: train 1, val 1" in output
    assert f"written: yolo to {tmp_path / 'out'}: 3 objects, 3 files of labels" in output
    assert sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*")) == [
        "data.yaml",
        "images/train/train.jpg",
        "images/val/valid.jpg",
        "labels/train/train.txt",
        "labels/val/valid.txt",
    ]


def test_slices_of_volumes_become_arrays(tmp_path):
    root = copied("nifti", tmp_path / "src")
    assert convert(root, tmp_path / "out", "--to", "masks") == 0
    before, after = open_labels(root), open_labels(tmp_path / "out")
    assert len(before) == len(after)
    for index in range(len(after)):
        assert (np.load(after.images[index]) == before.pixels(index, 2)).all()
        first, second = (reader.item(index).label_map for reader in (before, after))
        assert (np.array(before.classes)[first] == np.array(after.classes)[second]).all()


def test_links_share_the_images(plain, tmp_path):
    assert convert(plain, tmp_path / "out", "--to", "coco", "--link") == 0
    assert (tmp_path / "out" / "images" / "train" / "train.jpg").samefile(plain / "train" / "train.jpg")


def test_images_of_one_name_keep_their_folders(tmp_path):
    for folder, value in (("x", 1), ("y", 0)):
        write_image(tmp_path / "src" / "images" / folder / "a.jpg")
        write_mask(tmp_path / "src" / "masks" / folder / "a.png", rows(0, value, 1))
    assert convert(tmp_path / "src", tmp_path / "out", "--to", "masks") == 0
    reader = open_labels(tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in reader.images] == [
        "images/x/a.jpg",
        "images/y/a.jpg",
    ]
    assert [int(reader.item(i).label_map[0, 1]) for i in range(2)] == [1, 0]


def test_ignored_pixels_stay_ignored_in_voc(tmp_path, capsys):
    write_image(tmp_path / "src" / "images" / "a.jpg")
    write_mask(tmp_path / "src" / "masks" / "a.png", rows(0, 255, 2, 0))
    assert convert(tmp_path / "src", tmp_path / "voc", "--to", "voc") == 0
    assert "pixels that were ignored" not in capsys.readouterr().out
    assert open_labels(tmp_path / "voc").item(0).label_map[0, :4].tolist() == [0, 255, 2, 0]
    assert convert(tmp_path / "src", tmp_path / "coco", "--to", "coco") == 0
    assert "lost: 1 pixels that were ignored" in capsys.readouterr().out


@pytest.mark.parametrize("to", ["coco", "voc"])
def test_nothing_is_left_of_a_conversion_that_fails(plain, tmp_path, to, capsys):
    root = tmp_path / "src"
    shutil.copytree(plain, root)
    broken = dict(images=[dict(id=0, file_name="valid.jpg", height=40, width=50)], categories=CATEGORIES)
    broken["annotations"] = [SQUARE | dict(id=5, image_id=0, segmentation=[[1, 2, 3]])]
    (root / "valid" / "_annotations.coco.json").write_text(json.dumps(broken))
    assert convert(root, tmp_path / "new" / "out", "--to", to) == 2
    assert "_annotations.coco.json, annotation 5" in capsys.readouterr().err
    assert not list((tmp_path / "new").iterdir())


def test_refusals(plain, tmp_path, capsys):
    full = tmp_path / "full"
    write_image(full / "a.jpg")
    for words, message in (
        ((plain, full, "--to", "coco"), "full: is not empty; choose another folder"),
        ((plain, plain / "out", "--to", "coco"), "where it would be read as a part of it"),
        ((full, tmp_path / "out", "--to", "coco"), "labels of no known format"),
        ((tmp_path / "gone", tmp_path / "out", "--to", "coco"), "no such folder or file"),
        ((plain, tmp_path / "out", "--to", "coco", "--from", "yolo"), "no data.yaml and no classes.txt here"),
    ):
        assert convert(*words) == 2
        assert message in capsys.readouterr().err
    assert [path.name for path in full.iterdir()] == ["a.jpg"] and not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        convert(plain, tmp_path / "out", "--to", "tables")
    assert "choose from" in capsys.readouterr().err
