"""The contract of click data sets, their pairs of files and mixtures of sets."""

import json

import cv2
import numpy as np
import pytest

from segkit.data.concat import Concat, Mixed
from segkit.data.interactive.base import one_layer
from segkit.data.interactive.coco import COCOClicks, COCOClicksEval
from segkit.data.interactive.grabcut import DAVIS, Berkeley, COCOMVal, GrabCut
from segkit.data.interactive.penn_fudan import PennFudanClicks
from segkit.files import DataError
from segkit.registry import DATASETS, ConfigError, build
from segkit.types import ClickObject
from tests.data.layouts import rows, write_image, write_mask
from tests.data.made import Made

RNG = np.random.default_rng(0)


def write_coco(root, annotations, split="train2017", size=(6, 8), names=("a.jpg", "b.jpg")):
    """Images 1, 2, ... of one size and a file of the annotations, each (image, segmentation, more keys)."""
    for name in names:
        write_image(root / split / name, size)
    entries = [
        {"id": 10 + i, "image_id": image, "category_id": 1, "segmentation": segmentation, **more}
        for i, (image, segmentation, more) in enumerate(annotations)
    ]
    images = [{"id": 1 + i, "file_name": n, "height": size[0], "width": size[1]} for i, n in enumerate(names)]
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": entries, "categories": [{"id": 1, "name": "thing"}]}
    path.write_text(json.dumps(content))
    return path


def box(x0, y0, x1, y1):
    """A rectangle of whole pixels as a polygon."""
    return [[x0, y0, x1, y0, x1, y1, x0, y1]]


def drawn(x0, y0, x1, y1, size=(6, 8)):
    mask = np.zeros(size, bool)
    mask[y0:y1, x0:x1] = True
    return mask


def of(sample, number):
    own = sample["objects"][number]
    return sample["layers"][..., own.layer] == own.value


def test_grabcut_values(tmp_path):
    write_image(tmp_path / "data_GT" / "dog.JPG")
    write_mask(tmp_path / "boundary_GT" / "dog.png", rows(0, 1, 64, 127, 128, 129, 200, 255))
    sample = GrabCut(str(tmp_path)).sample(0, RNG)
    assert sample["mask"].dtype == np.int8 and sample["mask"].shape == (6, 8)
    assert sample["mask"][0].tolist() == [0, 0, 0, 0, -1, 1, 1, 1]
    assert sample["image"].shape == (6, 8, 3) and sample["meta"]["id"] == "dog"


def test_berkeley_pairs_by_the_name_up_to_the_first_dot(tmp_path):
    write_image(tmp_path / "images" / "12#1.v2.jpg")
    write_mask(tmp_path / "masks" / "12#1.png", rows(128, 255, 0))
    assert Berkeley(str(tmp_path)).mask(0)[0, :3].tolist() == [-1, 1, 0]


@pytest.mark.parametrize("reader", [DAVIS, COCOMVal])
def test_any_channel_marks_the_object(tmp_path, reader):
    write_image(tmp_path / "img" / "f.jpg")
    mask = np.zeros((6, 8, 3), np.uint8)
    mask[0, 0], mask[0, 1], mask[0, 2] = (0, 0, 1), (0, 128, 0), (255, 0, 0)
    (tmp_path / "gt").mkdir()
    cv2.imwrite(str(tmp_path / "gt" / "f.png"), mask)
    assert reader(str(tmp_path)).mask(0)[0, :4].tolist() == [1, 1, 1, 0]


def test_bad_pairs_are_named(tmp_path):
    with pytest.raises(DataError, match="GrabCut expects"):
        GrabCut(str(tmp_path))
    write_image(tmp_path / "data_GT" / "a.jpg")
    write_mask(tmp_path / "boundary_GT" / "b.png", 255)
    with pytest.raises(DataError, match="1 of 1 images have no mask"):
        GrabCut(str(tmp_path))
    write_mask(tmp_path / "boundary_GT" / "a.png", 128)
    with pytest.raises(DataError, match=r"a\.png: the object has no pixel"):
        GrabCut(str(tmp_path)).sample(0, RNG)
    write_mask(tmp_path / "boundary_GT" / "a.png", np.full((5, 8), 255, np.uint8))
    with pytest.raises(DataError, match="mask of 8x5 pixels for an image of 8x6"):
        GrabCut(str(tmp_path)).sample(0, RNG)


def test_penn_fudan_objects(tmp_path):
    write_image(tmp_path / "PNGImages" / "p1.png")
    write_mask(tmp_path / "PedMasks" / "p1_mask.png", rows(2, 2, 7, 0))
    sample = PennFudanClicks(str(tmp_path)).sample(0, RNG)
    assert sample["layers"].dtype == np.uint8 and sample["layers"].shape == (6, 8, 1)
    assert sorted(sample["objects"]) == [1, 2] and sample["ignored"] == [] and "mask" not in sample
    assert of(sample, 1)[0].tolist() == [True, True] + [False] * 6
    assert of(sample, 2).sum() == 1 and of(sample, 2)[0, 2]


def test_more_values_than_a_layer_holds():
    labels = np.arange(600, dtype=np.int32).reshape(20, 30)
    layers, objects, ignored = one_layer(labels, [300])
    assert layers.shape == (20, 30, 3) and len(objects) == 598
    seen = [layers[..., own.layer] == own.value for own in objects.values()]
    assert all(mask.sum() == 1 for mask in seen)
    values = [int(labels[mask][0]) for mask in seen]
    assert values == [v for v in range(1, 600) if v != 300]
    assert labels[layers[..., ignored[0][0]] == ignored[0][1]].tolist() == [300]


def test_coco_objects_and_crowds(tmp_path):
    crowd = {"size": [6, 8], "counts": [42, 6]}  # column 7
    write_coco(tmp_path, [(2, box(0, 0, 4, 4), {"area": 16}), (2, box(2, 2, 6, 6), {}), (2, crowd, {"iscrowd": 1})])
    dataset = COCOClicks(str(tmp_path))
    assert list(dataset.ids) == ["2"] and dataset.path(0).endswith("b.jpg")  # image 1 has no object
    sample = dataset.sample(0, RNG)
    assert sorted(sample["objects"]) == [10, 11] and len(sample["ignored"]) == 1
    assert np.array_equal(of(sample, 10), drawn(0, 0, 4, 4)) and np.array_equal(of(sample, 11), drawn(2, 2, 6, 6))
    layer, value = sample["ignored"][0]
    assert np.array_equal(sample["layers"][..., layer] == value, drawn(7, 0, 8, 6))


def test_coco_evaluation_has_one_item_per_object(tmp_path):
    crowd = {"size": [6, 8], "counts": [36, 12]}  # columns 6 and 7
    write_coco(tmp_path, [(1, box(0, 0, 4, 4), {}), (1, box(5, 0, 7, 2), {}), (1, crowd, {"iscrowd": 1})], "val2017")
    dataset = COCOClicksEval(str(tmp_path))
    assert list(dataset.ids) == ["1_10", "1_11"]
    mask = dataset.sample(1, RNG)["mask"]
    expected = np.where(drawn(5, 0, 7, 2), 1, np.where(drawn(6, 0, 8, 6), -1, 0))
    assert mask.dtype == np.int8 and np.array_equal(mask, expected)


def test_coco_files_that_cannot_be_used(tmp_path):
    write_coco(tmp_path, [(1, [], {}), (1, [], {"area": None})])
    with pytest.raises(DataError, match="none of the images has an annotated object"):
        COCOClicks(str(tmp_path))
    write_coco(tmp_path, [(1, {"size": [5, 8], "counts": [0, 40]}, {})])
    with pytest.raises(DataError, match=r"annotation 10: .*a mask of 8x5"):
        COCOClicks(str(tmp_path))
    write_coco(tmp_path, [(1, {"size": [6, 8]}, {})])
    with pytest.raises(DataError, match="annotation 10: the segmentation cannot be drawn"):
        COCOClicks(str(tmp_path))
    write_coco(tmp_path, [(3, box(0, 0, 4, 4), {})])
    with pytest.raises(DataError, match="image 3, which is not listed"):
        COCOClicks(str(tmp_path))
    write_coco(tmp_path, [(1, box(0, 0, 4, 4), {})])
    (tmp_path / "train2017" / "a.jpg").unlink()
    with pytest.raises(DataError, match=r"1 of 1 images are missing: a\.jpg"):
        COCOClicks(str(tmp_path))
    with pytest.raises(DataError, match=r"instances_val2017\.json"):
        COCOClicks(str(tmp_path), "val2017")


def test_concat_holds_all_items(tmp_path):
    sets = [Made([np.zeros((2, 2), np.uint8)]), Made([np.ones((3, 3), np.uint8), np.full((2, 3), 2, np.uint8)])]
    whole = Concat(sets)
    assert list(whole.ids) == ["0:0", "1:0", "1:1"] and len(whole) == 3 and whole.classes == sets[0].classes
    assert [whole.mask(i).shape for i in range(3)] == [(2, 2), (3, 3), (2, 3)]
    assert whole.sample(2, RNG)["meta"]["id"] == "1:1" and whole.sample(-1, RNG)["mask"].max() == 2
    with pytest.raises(DataError, match=r"datasets\[1\].*only equal classes"):
        Concat([*sets[:1], Made([np.zeros((2, 2), np.uint8)], num_classes=5)])
    with pytest.raises(DataError, match="no data set"):
        Concat([])
    with pytest.raises(DataError, match=r"datasets\[1\]: Made holds no item"):
        Concat([sets[0], Made([])])


def test_mixed_draws_by_ratio_and_uniformly():
    sets = [Made([np.zeros((2, 2), np.uint8)] * 9), Made([np.zeros((2, 2), np.uint8)] * 2)]
    mixed, rng = Mixed(sets, [1, 3]), np.random.default_rng(5)
    ids = [mixed.sample(0, rng)["meta"]["id"] for _ in range(2000)]
    # 4 standard deviations of a binomial count of 2000: 0.75 +- 0.039, a half of those +- 0.052
    assert abs(np.mean([i[0] == "1" for i in ids]) - 0.75) < 0.039
    assert abs(np.mean([i == "1:0" for i in ids if i[0] == "1"]) - 0.5) < 0.052
    assert len(set(ids)) == 11 and len(mixed) == 11
    for bad in ([1], [1, 0], [1, -1], [1, float("nan")]):
        with pytest.raises(DataError, match="one positive number"):
            Mixed(sets, bad)


def test_mixture_by_config(tmp_path):
    write_image(tmp_path / "PNGImages" / "p.png")
    write_mask(tmp_path / "PedMasks" / "p_mask.png", rows(1, 0))
    write_coco(tmp_path / "c", [(1, box(0, 0, 4, 4), {})])
    parts = [dict(type="PennFudanClicks", root=str(tmp_path)), dict(type="COCOClicks", root=str(tmp_path / "c"))]
    whole = build(dict(type="Concat", datasets=parts), DATASETS, "train.dataset")
    assert [sorted(whole.sample(i, RNG)["objects"]) for i in range(2)] == [[1], [10]]
    parts[1]["root"] = str(tmp_path / "none")
    with pytest.raises(ConfigError, match=r"train.dataset.datasets.1: COCOClicks cannot be built"):
        build(dict(type="Mixed", datasets=parts, ratios=[1, 1]), DATASETS, "train.dataset")


def test_real_files(real_data):
    dataset = Concat([COCOClicks(str(real_data / "coco_mini")), PennFudanClicks(str(real_data / "PennFudanPed"))])
    assert len(dataset) == 330
    for index in (3, 77, 200):
        sample = dataset.sample(index, RNG)
        assert all(of(sample, number).any() for number in sample["objects"])
        assert all(isinstance(own, ClickObject) for own in sample["objects"].values())
    assert sum(len(PennFudanClicks(str(real_data / "PennFudanPed")).packed(i, RNG).objects) for i in range(10)) > 10
    grabcut = GrabCut(str(real_data / "GrabCut"))
    assert len(grabcut) == 50 and set(np.unique(grabcut.mask(1))) == {-1, 0, 1}
    single = COCOClicksEval(str(real_data / "coco_mini"))
    assert len(single) == len(set(single.ids)) == 1408 and (single.sample(700, RNG)["mask"] == 1).any()
