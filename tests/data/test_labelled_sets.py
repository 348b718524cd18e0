"""Data sets of labels in any format: maps of classes, instances, clicks, without a conversion."""

import json
import multiprocessing
import pickle

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.data.formats.known import open_labels
from segkit.data.instances.labelled import LabelledInstances
from segkit.data.interactive.labelled import LabelledClicks, LabelledClicksEval
from segkit.data.preflight import check_dataset
from segkit.data.semantic.labelled import Labelled
from segkit.files import DataError
from segkit.metrics.coco_ap import CocoAP
from tests.data.labelled import copied
from tests.data.layouts import rows, write_image, write_mask

RNG = np.random.default_rng(0)
SETS = (Labelled, LabelledInstances, LabelledClicks, LabelledClicksEval)


def square(x0, y0, x1, y1):
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def row(number, image, category, corners, **keys):
    x0, y0, x1, y1 = corners
    box, area = [x0, y0, x1 - x0, y1 - y0], (x1 - x0) * (y1 - y0)
    return (
        dict(id=number, image_id=image, category_id=category, bbox=box, area=area, segmentation=square(*corners)) | keys
    )


@pytest.fixture
def coco(tmp_path):
    """Two splits of an image of 40 x 50 each: a cat over a dog and a crowd; a dog alone."""
    rows_of = {
        "train": [
            row(1, 0, 1, (5, 5, 15, 15)),
            row(2, 0, 2, (10, 5, 40, 25)),
            row(3, 0, 1, (0, 38, 50, 40), iscrowd=1),
        ],
        "valid": [row(1, 0, 2, (0, 0, 4, 5))],
    }
    for split, annotations in rows_of.items():
        write_image(tmp_path / split / f"{split}.jpg", (40, 50))
        images = [dict(id=0, file_name=f"{split}.jpg", height=40, width=50)]
        content = dict(
            images=images, annotations=annotations, categories=[dict(id=1, name="cat"), dict(id=2, name="dog")]
        )
        (tmp_path / split / "_annotations.coco.json").write_text(json.dumps(content))
    return tmp_path


def test_maps_of_classes(coco):
    dataset = Labelled(str(coco))
    assert dataset.classes == ("background", "cat", "dog") and dataset.ids == ["train/train", "valid/valid"]
    mask = dataset.sample(0, RNG)["mask"]
    # the cat of 100 pixels lies above the dog of 600, of which it covers 50; the crowd of cats has 100
    assert np.bincount(mask.ravel()).tolist() == [2000 - 100 - 550 - 100, 100 + 100, 550]
    assert len(Labelled(str(coco), split="val")) == len(Labelled(str(coco), split="valid")) == 1


def test_chosen_classes_leave_the_others_to_the_background(coco):
    dogs = Labelled(str(coco), classes=["dog"])
    assert dogs.classes == ("background", "dog")
    mask = dogs.sample(0, RNG)["mask"]
    assert (mask == 1).sum() == 550 and (mask == 0).sum() == 1450  # what cats cover is no dog
    assert Labelled(str(coco), classes=["dog", "background"]).classes == ("dog", "background")
    write_image(coco / "maps" / "images" / "a.jpg")
    write_mask(coco / "maps" / "masks" / "a.png", rows(0, 1, 2))
    (coco / "maps" / "classes.txt").write_text("sky\nroad\ncar\n")
    roads = Labelled(str(coco / "maps"), classes=["road"])
    assert roads.classes == ("road",) and roads.sample(0, RNG)["mask"][0, :3].tolist() == [255, 0, 255]


def test_instances_and_their_truth_for_scores(coco):
    dataset = LabelledInstances(str(coco), boxes_only=False)
    sample = dataset.sample(0, RNG)
    assert dataset.classes == ("cat", "dog") and sample["labels"].tolist() == [0, 1, 0]
    assert sample["boxes"].tolist() == [[5, 5, 15, 15], [10, 5, 40, 25], [0, 38, 50, 40]]
    assert sample["crowd"].tolist() == [False, False, True]
    assert [int(coco_mask.area(code)) for code in sample["masks"]] == [100, 600, 100]
    assert dataset.areas(1) == [20]
    assert "masks" not in LabelledInstances(str(coco)).sample(0, RNG)
    assert LabelledInstances(str(coco), filtered=True).sample(0, RNG)["labels"].tolist() == [0, 1]
    dogs = LabelledInstances(str(coco), classes=["dog"], split="train")
    assert len(dogs) == 1 and dogs.sample(0, RNG)["boxes"].tolist() == [[10, 5, 40, 25]]
    json.dumps(dataset.annotations)


def test_scores_of_perfect_predictions(coco):
    """CocoAP takes the set's annotations: its own masks score 100 percent."""
    import torch

    dataset = LabelledInstances(str(coco), boxes_only=False)
    metric = CocoAP()
    metric.start(dataset)
    metric.reset()
    for index in range(len(dataset)):
        sample = dataset.sample(index, RNG)
        kept = ~sample["crowd"]
        prediction = dict(
            masks=[code for code, keep in zip(sample["masks"], kept) if keep],
            scores=torch.ones(int(kept.sum())),
            labels=torch.from_numpy(sample["labels"][kept]),
            boxes=torch.from_numpy(sample["boxes"][kept]),
        )
        metric.update([prediction], dict(meta=[sample["meta"]]))
    assert metric.compute()["AP"] == pytest.approx(100)


def test_clicks(coco):
    sample = LabelledClicks(str(coco)).sample(0, RNG)
    layers = sample["layers"]
    areas = {n: int((layers[:, :, item.layer] == item.value).sum()) for n, item in sample["objects"].items()}
    assert areas == {1: 100, 2: 600}
    ((layer, value),) = sample["ignored"]
    assert (layers[:, :, layer] == value).sum() == 100
    scored = LabelledClicksEval(str(coco))
    assert scored.ids == ["train/train:1", "train/train:2", "valid/valid:1"]
    assert [int((scored.mask(i) == 1).sum()) for i in range(3)] == [100, 600, 20]
    assert (scored.mask(0) == -1).sum() == 100 and scored.mask(0).dtype == np.int8
    assert LabelledClicksEval(str(coco), classes=["cat"]).ids == ["train/train:1"]


def test_regions_of_masks_are_objects(tmp_path):
    write_image(tmp_path / "images" / "a.jpg")
    mask = np.zeros((6, 8), np.uint8)
    mask[0, :2], mask[3, 4:7] = 1, 1
    write_mask(tmp_path / "masks" / "a.png", mask)
    assert LabelledInstances(str(tmp_path)).sample(0, RNG)["boxes"].tolist() == [[0, 0, 2, 1], [4, 3, 7, 4]]
    assert len(LabelledClicksEval(str(tmp_path))) == 2
    assert Labelled(str(tmp_path)).sample(0, RNG)["mask"].sum() == 5


def test_slices_of_volumes(tmp_path):
    """Their paths are no files of their own: the reader hands out the pixels, and every slice has its own name."""
    root = str(copied("nifti", tmp_path))
    maps = Labelled(root, channels=2)
    assert len(set(maps.ids)) == len(maps) > 1
    reader = open_labels(root)
    index = next(i for i in range(len(reader)) if (reader.item(i).label_map == 1).any())
    sample = maps.sample(index, RNG)
    assert (sample["mask"] == reader.item(index).label_map).all()
    assert (sample["image"] == reader.pixels(index, 2)).all()
    for dataset in (Labelled(root), LabelledInstances(root), LabelledClicks(root), LabelledClicksEval(root)):
        with pytest.raises(DataError, match="2 channels where 3 are expected"):
            dataset.image(0)


def test_boxes_alone(tmp_path):
    write_image(tmp_path / "images" / "a.jpg", (40, 50))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.2 0.4\n")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [cat]\n")
    assert LabelledInstances(str(tmp_path)).sample(0, RNG)["boxes"].tolist() == [[20, 12, 30, 28]]
    with pytest.raises(DataError, match=r"a\.jpg: 1 objects are boxes without an outline.*type='LabelledInstances'"):
        Labelled(str(tmp_path)).sample(0, RNG)
    with pytest.raises(DataError, match="it has no segmentation; set boxes_only=True"):
        LabelledInstances(str(tmp_path), boxes_only=False).sample(0, RNG)
    with pytest.raises(DataError, match="none of the images has an object to click on: 1 objects are boxes"):
        LabelledClicks(str(tmp_path))


@pytest.mark.parametrize("cls", SETS)
def test_wrong_arguments(coco, cls):
    with pytest.raises(DataError, match=r"no class 'cats'; did you mean 'cat'"):
        cls(str(coco), classes=["cats"])
    with pytest.raises(DataError, match=r"no split 'test'.*available: train, val"):
        cls(str(coco), split="test")
    with pytest.raises(DataError, match="none of them twice"):
        cls(str(coco), classes=[])
    with pytest.raises(DataError, match="format = 'voc2': no such format"):
        cls(str(coco), "voc2")
    with pytest.raises(DataError, match="nodata"):
        cls(str(coco), nodata="x")


def _first(dataset):
    return dataset.sample(0, np.random.default_rng(0))["meta"]["id"]


def test_all_sets_reach_spawned_processes(coco):
    datasets = [cls(str(coco)) for cls in SETS]
    assert all(len(pickle.dumps(dataset)) < 100_000 for dataset in datasets)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(_first, datasets) == ["train/train"] * 3 + ["train/train:1"]


def test_the_check_reads_all(coco):
    dataset = Labelled(str(coco))
    report = check_dataset(dataset, 3)
    assert not report.errors and report.lines[0] == "Labelled: 2 images, 2 with labels; all of them read"
    # told once, though items are read again
    (fact,) = dataset.facts
    assert fact.startswith("overlaps in the 1 images read that have any: 1 objects gave 50 pixels to one above them")
    assert dataset.mask_path(1) == str(coco / "valid" / "_annotations.coco.json")
    assert check_dataset(LabelledInstances(str(coco), boxes_only=False), 2).is_ok
    assert check_dataset(LabelledClicks(str(coco)), 2, -1).is_ok
