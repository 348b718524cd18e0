"""MAL's crops of boxes as a data set, and its network's masks in the image."""

import json

import numpy as np
import pytest
import torch

from segkit.data.instances.box_crops import BoxCrops, box_crop, wrapped_crop
from segkit.data.instances.coco import COCOInstances
from segkit.data.loader import collate_train
from segkit.data.semantic.shapes import Shapes
from segkit.files import DataError
from segkit.models.mask_labeler import MaskLabeler
from segkit.registry import ConfigError
from segkit.runners.instances.box_labels import pasted
from tests.data.layouts import write_image
from tests.instances.test_instance_sets import CATEGORIES, entry


def rng():
    return np.random.default_rng(0)


def test_wrapped_crops_continue_on_the_other_side():
    image = np.arange(12).reshape(3, 4)
    assert wrapped_crop(image, (-1, 1, 2, 4)).tolist() == [[7, 4, 5], [11, 8, 9], [3, 0, 1]]
    assert wrapped_crop(image, (1, 0, 3, 2)).tolist() == [[1, 2], [5, 6]]


def test_boxes_include_their_last_pixel_and_are_wrapped_in_training_alone():
    wrapped = box_crop((0.0, 0.0, 1.9, 1.2), (-2, 0, 6, 3), (3, 4), is_wrapped=True)
    assert wrapped.tolist() == [[0, 0, 1, 1, 0, 0, 1, 1]] * 2 + [[0] * 8]
    plain = box_crop((0.0, 0.0, 1.9, 1.2), (-2, 0, 6, 3), (3, 4), is_wrapped=False)
    assert plain.tolist() == [[0, 0, 1, 1, 0, 0, 0, 0]] * 2 + [[0] * 8]


def instances(tmp_path):
    """An image with two boxes, a small one and a crowd."""
    boxes = [[2, 2, 60, 50], [30, 20, 70, 40], [5, 5, 9, 9], [0, 0, 90, 60]]
    entries = [entry(i + 1, 10, box, iscrowd=int(i == 3)) for i, box in enumerate(boxes)]
    write_image(tmp_path / "10.png", (64, 100))
    images = [dict(id=10, file_name="10.png", height=64, width=100)]
    (tmp_path / "a.json").write_text(json.dumps(dict(images=images, categories=CATEGORIES, annotations=entries)))
    return COCOInstances(annotations=str(tmp_path / "a.json"), images=str(tmp_path))


def test_training_leaves_out_small_boxes_and_crowds(tmp_path):
    dataset = instances(tmp_path)
    crops = BoxCrops(dataset, 64)
    assert crops.ids == ["10_1", "10_2"]
    assert crops.notes == ("2 of 4 boxes are left out: crowds, and those of 2048 pixels or fewer",)
    sample = crops.sample(0, rng())
    assert sample["image"].shape == (64, 64, 3) and sample["image"].dtype == np.uint8
    assert sample["mask"].shape == (64, 64) and set(np.unique(sample["mask"])) == {0, 1}
    assert sample["meta"]["box"] == (2, 2, 62, 52)
    assert sample["meta"]["crop"] != crops.sample(0, np.random.default_rng(1))["meta"]["crop"]
    batch = collate_train([sample, crops.sample(1, rng())])
    assert batch["image"].shape == (2, 3, 64, 64) and batch["mask"].shape == (2, 64, 64)


def test_sets_without_a_box_to_learn_from_are_said(tmp_path):
    with pytest.raises(ConfigError, match=r"BoxCrops.dataset: Shapes says nothing of boxes"):
        BoxCrops(Shapes(length=1))
    dataset = instances(tmp_path)
    content = json.loads((tmp_path / "a.json").read_text())
    content["annotations"] = content["annotations"][2:]
    (tmp_path / "a.json").write_text(json.dumps(content))
    dataset = COCOInstances(annotations=str(tmp_path / "a.json"), images=str(tmp_path))
    with pytest.raises(DataError, match=r"boxes of more than 2048 pixels, and none of the 2 boxes"):
        BoxCrops(dataset)


def test_masks_are_pasted_where_they_were_cut():
    probabilities = torch.zeros(4, 4)
    probabilities[1:3, 1:3] = 1
    mask = pasted(probabilities, (-2, 1, 6, 9), (8, 5)) > 0.5
    assert mask[3:7, 0:4].all() and mask.sum() == 16
    assert not pasted(probabilities, (20, 20, 28, 28), (8, 5)).any()


@pytest.mark.parametrize(
    ("area", "open_bounds", "is_zero"), [(1024, True, True), (1024, False, False), (9216, True, True)]
)
def test_boxes_between_two_ranges(area, open_bounds, is_zero):
    torch.manual_seed(0)
    model = MaskLabeler(size="small", open_bounds=open_bounds).eval()
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.tensor([float(area)]))["logits"]
    assert logits.shape == (1, 1, 8, 8) and bool((logits == 0).all()) is is_zero
