"""Instance data: COCO files of all kinds, LVIS, iSAID, Penn-Fudan; boxes without outlines."""

import json

import cv2
import numpy as np
import pytest
import torch

from segkit.data.files.object_masks import dense_masks
from segkit.data.instances.coco import COCOInstances, ISAIDInstances, LVISInstances
from segkit.data.instances.penn_fudan import PennFudanInstances
from segkit.data.loader import EvalItems, TrainItems, collate_eval, collate_train, to_device, train_loader
from segkit.data.samplers import AspectGrouped
from segkit.data.transforms.boxes import BoxesOfMasks, BoxMasks
from segkit.data.transforms.sizes import Flip, Pad, RandomShortSide, Resize
from segkit.engine.preflight import unscorable
from segkit.files import DataError
from segkit.metrics.coco_ap import CocoAP
from segkit.metrics.lvis_ap import LvisAP
from segkit.metrics.voc_ap import VocAP
from segkit.ops.instances.packed_masks import PackedMasks
from segkit.registry import ConfigError
from tests.data.layouts import write_image, write_mask
from tests.interactive.test_click_readers import cache  # noqa: F401

TRIANGLE = [[2.0, 2.0, 22.0, 2.0, 2.0, 22.0]]
CATEGORIES = [dict(id=7, name="cat"), dict(id=3, name="dog")]


def rng(seed=0):
    return np.random.default_rng(seed)


def entry(number, image, bbox, category=7, **others):
    area = bbox[2] * bbox[3]
    return dict(id=number, image_id=image, category_id=category, bbox=bbox, area=area, segmentation=TRIANGLE) | others


ENTRIES = [
    entry(1, 10, [2, 2, 20, 20]),
    entry(2, 10, [30.5, 20.5, 30, 40], category=3),  # beyond the image at the right and bottom
    entry(3, 10, [100, 5, 9, 9]),  # outside
    entry(4, 10, [5, 5, 0, 9]),
    entry(5, 10, [5, 5, -3, 9]),
    entry(6, 10, [5, 5, 0.5, 9]),
    entry(7, 10, [5, 5, 9, 9], area=0),
    entry(8, 10, [0, 0, 48, 20], iscrowd=1, segmentation=dict(size=[40, 48], counts=[0, 1920])),
    entry(9, 12, [4, 4, 8, 8], iscrowd=1, segmentation=dict(size=[40, 48], counts=[0, 1920])),
    entry(10, 13, [4, 4, 8, 8]),
]
SIZES = {10: (40, 48), 11: (40, 48), 12: (40, 48), 13: (31, 48)}


def write_coco(root, entries=ENTRIES, **others):
    """Image 10 has objects, 11 none, 12 a crowd alone, 13 is below 32 pixels. The file has no `info`."""
    images = [dict(id=i, file_name=f"{i}.png", height=size[0], width=size[1]) for i, size in SIZES.items()]
    for i, size in SIZES.items():
        write_image(root / "train2017" / f"{i}.png", size)
    path = root / "annotations" / "instances_train2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(dict(images=images, categories=CATEGORIES, annotations=entries) | others))
    return root


def test_boxes_labels_and_what_is_left_out(tmp_path):
    every = COCOInstances(write_coco(tmp_path))
    assert every.classes == ("cat", "dog") and len(set(every.palette)) == 2 and every.ids == ["10", "11", "12", "13"]
    sample = every.sample(0, rng())
    np.testing.assert_array_equal(sample["boxes"], [[2, 2, 22, 22], [30.5, 20.5, 48, 40], [0, 0, 48, 20]])
    assert sample["labels"].tolist() == [0, 1, 0] and sample["crowd"].tolist() == [False, False, True]
    assert (sample["boxes"].dtype, sample["labels"].dtype, sample["crowd"].dtype) == (np.float32, np.int64, bool)
    assert sample["meta"]["id"] == "10" and sample["image"].shape == (40, 48, 3) and "masks" not in sample
    empty = every.sample(1, rng())
    assert empty["boxes"].shape == (0, 4) and empty["labels"].dtype == np.int64 and len(empty["crowd"]) == 0
    training = COCOInstances(tmp_path, filtered=True)
    assert training.ids == ["10"] and training.sample(0, rng())["labels"].tolist() == [0, 1]
    assert training.sizes.tolist() == [[40, 48]] and "3 of 4 images are left out" in training.notes[0]


def test_classes_by_name_take_their_order_and_drop_the_others(tmp_path):
    both = COCOInstances(write_coco(tmp_path), classes=("dog", "cat"))
    assert both.sample(0, rng())["labels"].tolist() == [1, 0, 1]
    assert [one["id"] for one in both.annotations["categories"]] == [3, 7]
    dogs = COCOInstances(tmp_path, classes=["dog"], filtered=True)
    assert len(dogs) == 1 and dogs.sample(0, rng())["labels"].tolist() == [0]
    assert [one["id"] for one in dogs.annotations["annotations"]] == [2]
    with pytest.raises(DataError, match=r"no category 'dogg'.*dog"):
        COCOInstances(tmp_path, classes=["dogg"])


@pytest.mark.parametrize("outline", ["absent", "this is no outline", [["x"]], {"counts": 5}])
def test_training_with_boxes_never_looks_at_segmentations(tmp_path, outline, monkeypatch):
    """Files whose outlines are nonsense, or are not there, give the samples of a good file; nothing draws or codes."""
    (tmp_path / "good").mkdir()
    keep = [COCOInstances(write_coco(tmp_path / "good"), filtered=True)]
    entries = [{**one, "segmentation": outline} for one in ENTRIES]
    if outline == "absent":
        entries = [{key: value for key, value in one.items() if key != "segmentation"} for one in entries]
    (tmp_path / "other").mkdir()
    keep.append(COCOInstances(write_coco(tmp_path / "other", entries), filtered=True))

    def fail(*_, **__):
        raise AssertionError("an outline is read")

    for place in (
        "segkit.data.files.coco_json.to_rle",
        "segkit.data.files.coco_json.draw",
        "segkit.data.instances.base.as_rle",
        "segkit.data.instances.coco.mask_records",
        "pycocotools.mask.frPyObjects",
    ):
        monkeypatch.setattr(place, fail)
    transforms = [BoxMasks(), RandomShortSide([40, 50], long=90), Flip(), Pad(divisor=32)]
    samples = [TrainItems(dataset, transforms, 3)[(5, 0)] for dataset in keep]
    for key in ("image", "boxes", "labels", "masks", "crowd"):
        np.testing.assert_array_equal(samples[0][key], samples[1][key])
    assert samples[0]["masks"].any(axis=(1, 2)).all() and len(samples[0]["masks"]) == 2


def test_masks_where_they_are_asked_for(tmp_path):
    good = COCOInstances(write_coco(tmp_path), boxes_only=False)
    sample = good.sample(0, rng())
    masks = dense_masks(sample["masks"], (40, 48))
    # a right-angled triangle with legs of 20 pixels, and the whole image
    assert abs(int(masks[0].sum()) - 200) <= 20 and masks[0, 3, 3] and not masks[0, 20, 20] and masks[2].all()
    moved = Resize((80, 96))(sample, rng())
    assert moved["masks"].shape == (3, 80, 96) and moved["boxes"][0].tolist() == [4, 4, 44, 44]
    for outline, message in (
        (None, "no segmentation; set boxes_only"),
        ([["x"] * 6], "cannot be drawn"),
        (dict(size=[4, 4], counts=[0, 16]), "mask of 4x4 pixels for an image"),
    ):
        write_coco(tmp_path, [entry(1, 10, [2, 2, 20, 20], segmentation=outline)])
        with pytest.raises(DataError, match=f"annotation 1.*{message}"):
            COCOInstances(tmp_path, boxes_only=False).sample(0, rng())
    write_coco(tmp_path, [entry(1, 10, [2, 2, 20, 20], segmentation=[])])
    assert not dense_masks(COCOInstances(tmp_path, boxes_only=False).sample(0, rng())["masks"], (40, 48)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(annotations=[entry(1, 10, [2, 2, 20, 20], category=99)]), "annotation 1 has category 99, which is not"),
        (dict(annotations=[entry(1, 99, [2, 2, 20, 20])]), "annotation 1 is of image 99, which is not listed"),
        (dict(annotations=[dict(id=1, image_id=10, category_id=7)]), "annotation 1: it has no bbox"),
        (dict(annotations=[entry(1, 10, [2, 2, 20, 20]) | dict(bbox=[1, 2])]), "bbox .* is not .x, y, w, h"),
        (dict(images=[dict(id=10, file_name="10.png")]), "image 10: .*height"),
        (dict(images=[dict(id=1, file_name="gone.png", height=40, width=48)]), "1 of 1 images are missing: gone.png"),
        (dict(images=[]), "no image is listed"),
        (dict(annotations=[dict(id=1, image_id=10, bbox=[1, 2, 3, 4])]), "KeyError.'category_id'.*need"),
        (dict(annotations=[dict(id=1, category_id=7, bbox=[1, 2, 3, 4])]), "KeyError.'image_id'.*need"),
        (dict(annotations=None), "TypeError.*annotations an image_id and a category_id"),
        (dict(categories=[dict(id=1)]), "KeyError.'name'.*categories an id and a name"),
        (dict(categories=[dict(id=1, name="a"), dict(id=2, name="a")]), "two categories have the same name"),
        (dict(categories=[dict(id=1, name="a"), dict(id=1, name="b")]), "two categories have the same id"),
        (dict(annotations=[entry(1, 10, [2, 2, 20, 20], iscrowd="x")]), "annotation 1: iscrowd 'x' must be 0 or 1"),
        (dict(annotations=[entry(1, 10, [2, 2, 20, 20], area="big")]), "annotation 1: .*area 'big' must be a number"),
        (dict(annotations=[entry(1, 10, [2, float("nan"), 20, 20])]), "annotation 1: .* not finite"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, change, message):
    write_coco(tmp_path, [], **change)
    with pytest.raises(DataError, match=message):
        COCOInstances(tmp_path)


def test_nothing_to_learn_from_and_images_of_another_size(tmp_path):
    write_coco(tmp_path, ENTRIES[2:])
    with pytest.raises(DataError, match="none of 4 images has a box"):
        COCOInstances(tmp_path, filtered=True)
    write_image(tmp_path / "train2017" / "10.png", (20, 20))
    with pytest.raises(DataError, match="48x40 pixels for an image of 20x20"):
        COCOInstances(tmp_path).sample(0, rng())


def test_chosen_classes_are_named_once_and_not_none(tmp_path):
    write_coco(tmp_path)
    for classes in ((), ("cat", "cat")):
        with pytest.raises(DataError, match="at least one name, none of them twice"):
            COCOInstances(tmp_path, classes=classes)
    given = [entry(1, 10, [2, 2, 20, 20], area=None, iscrowd=None)]  # null is as good as absent
    (tmp_path / "null").mkdir()
    assert COCOInstances(write_coco(tmp_path / "null", given)).areas(0) == [400]


def test_outlines_that_scores_need(tmp_path):
    """Absent ones are named before training, empty ones are objects of no pixel, and boxes are scored without any."""
    bare = {key: value for key, value in ENTRIES[0].items() if key != "segmentation"}
    dataset = COCOInstances(write_coco(tmp_path, [ENTRIES[1], bare]))
    with pytest.raises(ConfigError, match=r"annotation 1 of image 10 has no segmentation \(1 have none\).*iou_type"):
        CocoAP().start(dataset)
    CocoAP("bbox").start(dataset)
    assert "has no segmentation" in unscorable(dataset, [dict(type="MatchedMaskIoU")])[0]
    assert unscorable(dataset, [dict(type="CocoAP", iou_type="bbox")]) == []
    (tmp_path / "empty").mkdir()
    entries = [ENTRIES[0], entry(2, 11, [5, 5, 9, 9], segmentation=[])]
    dataset = COCOInstances(write_coco(tmp_path / "empty", entries), boxes_only=False)
    assert perfect(dataset, CocoAP())["AR@100"] == pytest.approx(50)
    (tmp_path / "odd").mkdir()
    odd = COCOInstances(write_coco(tmp_path / "odd", [entry(1, 10, [2, 2, 20, 20], segmentation="x")]))
    with pytest.raises(DataError, match="annotation 1: the segmentation cannot be drawn"):
        CocoAP().start(odd)


def perfect(dataset, metric):
    """The score of the truth itself as the prediction."""
    metric.start(dataset)
    metric.reset()
    items = EvalItems(dataset, [Resize(short=20)])
    for index in range(len(dataset)):
        batch = collate_eval([items[index]])
        keep = ~batch["crowd"][0].numpy()
        masks = [rle for rle, one in zip(batch["masks"][0], keep) if one]
        found = dict(masks=masks, scores=np.ones(len(masks)), labels=batch["labels"][0][keep])
        metric.update([found], batch)
    return metric.compute()


def test_annotations_score_the_truth_as_perfect(tmp_path):
    entries = [ENTRIES[0], entry(2, 11, [2, 2, 20, 20], category=3), *ENTRIES[7:]]
    dataset = COCOInstances(write_coco(tmp_path, entries), boxes_only=False)
    result = perfect(dataset, CocoAP())
    assert result["AP"] == pytest.approx(100) and set(result["per_class"]) == {"cat", "dog"}
    assert perfect(dataset, VocAP())["AP25"] == pytest.approx(100)
    # one detection of the wrong class: the order of the labels is that of the categories
    metric = CocoAP()
    metric.start(COCOInstances(tmp_path, classes=["dog", "cat"]))
    batch = collate_eval([EvalItems(dataset, [])[1]])
    metric.update([dict(masks=batch["masks"][0], scores=[1.0], labels=[0])], batch)
    assert metric.compute()["per_class"]["dog"]["AP"] == pytest.approx(100)


def test_lvis_finds_images_by_their_address(tmp_path, monkeypatch):
    monkeypatch.setenv("SEGKIT_DATA", str(tmp_path))
    image = dict(
        id=5,
        height=40,
        width=48,
        coco_url="http://images.cocodataset.org/val2017/000005.jpg",
        neg_category_ids=[3],
        not_exhaustive_category_ids=[],
    )
    categories = [dict(id=7, name="cat", frequency="f"), dict(id=3, name="dog", frequency="r")]
    (tmp_path / "lvis").mkdir()
    content = dict(images=[image], categories=categories, annotations=[entry(1, 5, [2, 2, 20, 20])])
    (tmp_path / "lvis" / "lvis_v1_train.json").write_text(json.dumps(content))
    write_image(tmp_path / "coco" / "val2017" / "000005.jpg", (40, 48))
    dataset = LVISInstances(boxes_only=False)
    assert dataset.path(0).endswith("coco/val2017/000005.jpg") and dataset.sample(0, rng())["labels"].tolist() == [0]
    assert perfect(dataset, LvisAP())["AP"] == pytest.approx(100)


def test_isaid_layout(tmp_path):
    write_coco(tmp_path)
    place = tmp_path / "patches" / "train"
    place.mkdir(parents=True)
    (tmp_path / "train2017").rename(place / "images")
    (tmp_path / "annotations" / "instances_train2017.json").rename(place / "instancesonly_filtered_train.json")
    assert ISAIDInstances(tmp_path / "patches", filtered=True).ids == ["10"]


def test_penn_fudan_from_its_masks(tmp_path, cache):  # noqa: F811
    mask = np.zeros((40, 50), np.uint8)
    mask[5:15, 10:30], mask[20:30, 2:12] = 1, 2
    for number in range(122):
        write_image(tmp_path / "PNGImages" / f"p{number:03d}.png", (40, 50))
        write_mask(tmp_path / "PedMasks" / f"p{number:03d}_mask.png", mask)
    train, test = PennFudanInstances(tmp_path, filtered=True), PennFudanInstances(tmp_path, "test", boxes_only=False)
    assert len(train) == 120 and test.ids == ["p120", "p121"] and test.classes == ("pedestrian",)
    # the boxes are known: training opens no mask any more
    for path in (tmp_path / "PedMasks").iterdir():
        path.write_bytes(b"gone")
    sample = train.sample(119, rng())
    np.testing.assert_array_equal(sample["boxes"], [[10, 5, 30, 15], [2, 20, 12, 30]])
    assert sample["meta"]["id"] == "p119" and "masks" not in sample
    assert perfect(test, CocoAP())["AP"] == pytest.approx(100)


def test_masks_are_arrays_whatever_the_transforms_touch(tmp_path):
    """Of three images a Flip moves some, and a Resize to their own size none: the batch has arrays of one kind."""
    (tmp_path / "train2017").mkdir()
    images = [dict(id=i, file_name=f"{i}.png", height=40, width=48) for i in range(3)]
    entries = [entry(i + 1, i, [2, 2, 20, 20]) for i in range(2)]  # the third image has no object
    write_coco(tmp_path, entries, images=images)
    for image in images:
        write_image(tmp_path / "train2017" / image["file_name"], (40, 48))
    dataset = COCOInstances(tmp_path, boxes_only=False)
    kinds = set()
    for transforms in ([Flip()], [Resize((40, 48))], [Resize((40, 48)), Pad(divisor=32)], []):
        items = TrainItems(dataset, transforms, 0)
        samples = [items[(position, position % 3)] for position in range(12)]
        kinds |= {type(sample["masks"]) for sample in samples}
        moved = to_device(collate_train(samples), torch.device("meta"))
        assert all(masks.bits.device.type == "meta" for masks in moved["masks"])
        for masks, sample in zip(collate_train(samples)["masks"], samples, strict=True):
            np.testing.assert_array_equal(np.asarray(masks), dense_masks(sample["masks"], sample["image"].shape[:2]))
            assert masks.shape == (len(sample["labels"]), *sample["image"].shape[:2])
    assert kinds == {list, PackedMasks}  # those that no transform moved, and the others
    mixed = collate_eval([EvalItems(dataset, [])[0], {**EvalItems(dataset, [])[1], "masks": np.zeros((1, 40, 48))}])
    masks = to_device(mixed, torch.device("meta"))["masks"]
    assert isinstance(masks[0], list) and masks[1].device.type == "meta"


def test_real_coco(real_data):
    root = real_data / "coco_mini"
    train = COCOInstances(root, "train2017", filtered=True, boxes_only=False)
    val = COCOInstances(root, "val2017")
    assert len(train.classes) == 80 and train.classes[0] == "person" and 150 <= len(train) <= 160 and len(val) == 158
    truth = val.annotations
    assert len(truth["annotations"]) == 1424 and len(truth["images"]) == 158
    for index in (0, 40, 90):
        sample = train.sample(index, rng())
        masks = dense_masks(sample["masks"], sample["image"].shape[:2])
        boxes = BoxesOfMasks()(sample, rng())["boxes"]
        # drawn outlines reach the annotated boxes to a few pixels
        if len(boxes) == len(masks):
            assert np.abs(boxes - sample["boxes"]).max() <= 3
    items = TrainItems(train, [BoxMasks(), RandomShortSide([160, 192], long=320), Flip(), Pad(divisor=32)], 0)
    sampler = AspectGrouped(train, batch=4)
    batch = next(train_loader(items, sampler, batch_size=4, workers=0))
    assert len(batch["boxes"]) == len(batch["masks"]) == 4 and batch["image"].shape[2] % 32 == 0
    for masks, boxes, meta in zip(batch["masks"], batch["boxes"], batch["meta"]):
        assert len(masks) == len(boxes) > 0 and masks.shape[2] <= batch["image"].shape[3] and meta["valid"][0] > 0


def test_real_penn_fudan(real_data, cache):  # noqa: F811
    train, test = PennFudanInstances(filtered=True), PennFudanInstances(split="test", boxes_only=False)
    every = PennFudanInstances(split="all")
    assert (len(train), len(test), len(every)) == (120, 50, 170)
    assert sum(len(every.sample(i, rng())["boxes"]) for i in range(0, 170, 34)) == sum(
        int(cv2.imread(every.path(i).replace("PNGImages", "PedMasks").rpartition(".")[0] + "_mask.png", -1).max())
        for i in range(0, 170, 34)
    )
    assert len(test.annotations["annotations"]) + len(train.annotations["annotations"]) == 423
    sample = test.sample(0, rng())
    boxes = BoxesOfMasks()(sample, rng())["boxes"]
    np.testing.assert_array_equal(boxes, sample["boxes"])
    assert collate_train([sample])["crowd"][0].sum() == 0
