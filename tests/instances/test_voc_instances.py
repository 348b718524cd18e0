"""VOC instances: the annotation file made from masks of VOC and SBD, and its reader."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from segkit.cli.main import main
from segkit.data.files.object_masks import dense_masks
from segkit.data.instances.coco import VOCInstances
from segkit.data.prepare.voc_instances import image_id, objects_of, prepare_voc_instances
from segkit.files import DataError
from segkit.metrics.voc_ap import VocAP
from tests.data.layouts import write_image, write_mask
from tests.instances.test_instance_sets import perfect, rng
from tests.interactive.test_click_readers import write_inst


@pytest.fixture
def voc(tmp_path):
    """2007_000001 is VOC's with two objects and void, 2008_000002 SBD's alone, 2007_000009 VOC's val."""
    root, sbd = tmp_path / "VOC2012", tmp_path / "sbd"
    objects, classes = np.zeros((40, 50), np.uint8), np.zeros((40, 50), np.uint8)
    objects[5:15, 10:30], classes[5:15, 10:30] = 1, 15
    objects[20:30, 2:12], classes[20:30, 2:12] = 2, 14
    objects[20, 2:12], classes[20, 2:12] = 255, 255
    for name in ("2007_000001", "2007_000009"):
        write_mask(root / "SegmentationObject" / f"{name}.png", objects, palette=True)
        write_mask(root / "SegmentationClass" / f"{name}.png", classes, palette=True)
    for name in ("2007_000001", "2008_000002", "2007_000009"):
        write_image(root / "JPEGImages" / f"{name}.jpg", (40, 50))
        write_inst(sbd / "inst" / f"{name}.mat", np.where(objects == 255, 0, objects)[:, ::-1])
        (sbd / "cls").mkdir(exist_ok=True)
        truth = np.empty((1, 1), [("Segmentation", object)])
        truth[0, 0] = (np.where(classes == 255, 0, classes)[:, ::-1],)
        savemat(sbd / "cls" / f"{name}.mat", {"GTcls": truth})
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000001\n")
    (lists / "val.txt").write_text("2007_000009\n")
    return root, sbd


def test_voc_instances_by_hand(voc):
    root, sbd = voc
    with pytest.raises(DataError, match=r"voc_2012_train\.json: no such file; make it: segkit prepare"):
        VOCInstances(root)
    assert main(["prepare", "voc_instances", "--root", str(root), "--sbd", str(sbd), "--jobs", "1"]) == 0
    train = VOCInstances(root, filtered=True, boxes_only=False)
    assert train.ids == ["2007000001", "2008000002"] and len(train.classes) == 20 and train.classes[13] == "motorbike"
    sample = train.sample(0, rng())
    assert sample["labels"].tolist() == [14, 13]
    # VOC's own file: the void row is no part of the object
    np.testing.assert_array_equal(sample["boxes"], [[10, 5, 30, 15], [2, 21, 12, 30]])
    np.testing.assert_array_equal(dense_masks(sample["masks"], (40, 50)).sum(axis=(1, 2)), [200, 90])
    # SBD's, mirrored
    np.testing.assert_array_equal(train.sample(1, rng())["boxes"], [[20, 5, 40, 15], [38, 21, 48, 30]])
    truth = json.loads((root / "annotations" / "voc_2012_train.json").read_text())
    assert [one["area"] for one in truth["annotations"]] == [200, 90, 200, 90]
    assert prepare_voc_instances(root, split="train", sbd=sbd).is_file()
    with pytest.raises(DataError, match=r"made of other images \(2\) than the split has now \(1\); delete it"):
        prepare_voc_instances(root, split="train")
    assert truth["annotations"][0]["bbox"] == [10, 5, 20, 10] and truth["annotations"][0]["iscrowd"] == 0
    val = VOCInstances(root, split="val", boxes_only=False)
    assert val.ids == ["2007000009"] and perfect(val, VocAP())["AP75"] == pytest.approx(100)


def test_voc_masks_that_do_not_fit(voc):
    root, _ = voc
    objects = np.zeros((4, 4), np.uint8)
    objects[0, :3] = 1
    classes = np.array([[5, 5, 6, 0], *[[0] * 4] * 3], np.uint8)
    assert objects_of(objects, classes, "a")[0]["category_id"] == 5
    with pytest.raises(DataError, match="a: object 1 lies where the class mask has none"):
        objects_of(objects, np.full((4, 4), 255, np.uint8), "a")
    (root / "SegmentationClass" / "2007_000009.png").unlink()
    assert main(["prepare", "voc_instances", "--root", str(root), "--split", "val"]) != 0
    assert image_id("2007_000032") == 2007000032 and image_id("street_a") == "street_a"
