"""AP of instance masks: published numbers, cases worked by hand, several processes' worth of detections."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from segkit.metrics.coco_ap import CocoAP
from segkit.metrics.lvis_ap import LvisAP
from segkit.metrics.voc_ap import VocAP
from segkit.registry import METRICS, ConfigError

FIXTURE = Path(__file__).parents[1] / "fixtures" / "metrics" / "voc_eval.json"
COCO_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR@1", "AR@10", "AR@100", "ARs", "ARm", "ARl")


@pytest.fixture(scope="module")
def voc():
    return json.loads(FIXTURE.read_text())


def encode(mask: np.ndarray) -> dict:
    return rle.encode(np.asfortranarray(mask.astype(np.uint8)))


def square(y: int, x: int, side: int = 10, size: tuple = (60, 80)) -> dict:
    mask = np.zeros(size, np.uint8)
    mask[y : y + side, x : x + side] = 1
    return encode(mask)


def truth_of(masks: list[tuple[int, int, dict]], num_images: int = 2, num_classes: int = 2) -> dict:
    """masks: (image, class label, RLE) -> annotations in LVIS form, which COCO's scores read too."""
    categories = [{"id": 10 + k, "name": f"c{k}", "frequency": "rcf"[k]} for k in range(num_classes)]
    images = [
        dict(id=i, height=60, width=80, neg_category_ids=[c["id"] for c in categories], not_exhaustive_category_ids=[])
        for i in range(num_images)
    ]
    annotations = [
        dict(id=n, image_id=i, category_id=10 + k, segmentation=m, area=float(rle.area(m)), bbox=rle.toBbox(m).tolist())
        for n, (i, k, m) in enumerate(masks)
    ]
    return dict(images=images, categories=categories, annotations=annotations)


def feed(metric, annotations: dict, found: list[tuple[int, int, float, dict]]) -> None:
    """found: (image id, label, score, RLE); one update for each image of the annotations."""
    metric.start(SimpleNamespace(annotations=annotations))
    for image in annotations["images"]:
        mine = [one for one in found if one[0] == image["id"]]
        prediction = dict(
            masks=[one[3] for one in mine],
            scores=torch.tensor([one[2] for one in mine], dtype=torch.float64),
            labels=torch.tensor([one[1] for one in mine], dtype=torch.int64),
        )
        metric.update([prediction], dict(meta=[dict(id=str(image["id"]))]))


def of_voc(voc: dict) -> list[tuple[int, int, float, dict]]:
    return [(one["image_id"], one["category_id"] - 1, one["score"], one["segmentation"]) for one in voc["dt"]]


def test_voc_scores_equal_the_published_evaluation(voc):
    metric = VocAP()
    feed(metric, voc["gt"], of_voc(voc))
    expected = {name: 100 * value for name, value in voc["voc_eval"].items()}
    assert metric.compute() == pytest.approx(expected, abs=1e-9)


def test_coco_scores_equal_the_published_twelve(voc):
    metric = CocoAP()
    feed(metric, voc["gt"], of_voc(voc))
    result = metric.compute()
    assert set(result.pop("per_class")) == {"1", "2", "3"}
    for name, value in zip(COCO_NAMES, voc["coco_eval_12_stats"], strict=True):
        assert result[name] == (None if value == -1 else pytest.approx(100 * value, abs=1e-9)), name


def test_the_annotations_are_left_as_they_were(voc):
    before = json.dumps(voc["gt"])
    metric = CocoAP()
    feed(metric, voc["gt"], of_voc(voc))
    first = metric.compute()
    assert json.dumps(voc["gt"]) == before
    assert metric.compute() == first


@pytest.mark.parametrize("metric", [CocoAP(), VocAP(), LvisAP()], ids=lambda metric: type(metric).__name__)
def test_perfect_and_no_detections(metric):
    masks = [(0, 0, square(5, 5)), (1, 1, square(20, 30))]
    feed(metric, truth_of(masks), [(i, k, 0.9, m) for i, k, m in masks])
    assert metric.compute()["AP50"] == pytest.approx(100)
    metric.reset()
    assert metric.compute()["AP50"] == 0


@pytest.mark.parametrize("cls", [CocoAP, LvisAP])
def test_ap_by_hand(cls):
    """One class, two objects; by falling score: hit, miss, hit. Precision 1 up to recall .5 (points 0...50 of 101),
    2/3 from there to 1: (51 + 50 * 2/3) / 101."""
    masks = [(0, 0, square(5, 5)), (1, 0, square(20, 30))]
    found = [(0, 0, 0.9, square(5, 5)), (0, 0, 0.8, square(40, 60)), (1, 0, 0.7, square(20, 30))]
    metric = cls()
    feed(metric, truth_of(masks), found)
    result = metric.compute()
    assert result["AP50"] == pytest.approx(100 * (51 + 50 * 2 / 3) / 101)
    assert result["AP"] == pytest.approx(result["AP50"])
    assert result["APs"] == pytest.approx(result["AP50"])  # all objects have 100 pixels
    assert result["APm"] is None


def test_coco_and_lvis_agree_where_every_image_is_checked_for_every_class(voc):
    truth = json.loads(json.dumps(voc["gt"]))
    for image in truth["images"]:
        image.update(neg_category_ids=[1, 2, 3], not_exhaustive_category_ids=[])
    for category, frequency in zip(truth["categories"], "rcf"):
        category["frequency"] = frequency
    coco, lvis = CocoAP(), LvisAP()
    feed(coco, truth, of_voc(voc))
    feed(lvis, truth, of_voc(voc))
    ours, theirs = lvis.compute(), coco.compute()
    for name in ("AP", "AP50", "AP75", "APs", "APm", "APl"):
        assert ours[name] == pytest.approx(theirs[name], abs=1e-9), name
    assert ours["AR"] == pytest.approx(theirs["AR@100"], abs=1e-9)
    by_class = [theirs["per_class"][name]["AP"] for name in "123"]
    assert [ours[name] for name in ("APr", "APc", "APf")] == pytest.approx(by_class, abs=1e-9)


def test_lvis_does_not_count_detections_of_unchecked_classes():
    masks = [(0, 0, square(5, 5))]
    found = [(0, 0, 0.5, square(5, 5)), (1, 0, 0.9, square(40, 60))]
    truth = truth_of(masks, num_classes=1)
    metric = LvisAP()
    feed(metric, truth, found)
    assert metric.compute()["AP50"] == pytest.approx(50)  # the false one is scored first
    truth["images"][1]["neg_category_ids"] = []
    feed(metric, truth, found)
    assert metric.compute()["AP50"] == pytest.approx(100)


def test_max_detections_keep_the_best_scored():
    masks = [(0, 0, square(5, 5))]
    found = [(0, 0, 0.5, square(5, 5)), (0, 0, 0.9, square(40, 60))]
    for metric in (LvisAP(max_detections=1), VocAP(max_detections=1), CocoAP(max_detections=(1,))):
        feed(metric, truth_of(masks, num_classes=1), found)
        assert metric.compute()["AP50"] == 0


def test_boxes_are_scored_by_iou_type_bbox():
    masks = [(0, 0, square(5, 5))]
    metric = CocoAP(iou_type="bbox")
    metric.start(SimpleNamespace(annotations=truth_of(masks)))
    empty = square(50, 70)  # the mask is elsewhere: only the box (x0, y0, x1, y1) hits
    boxes = np.array([[5.0, 5.0, 15.0, 15.0]], np.float32)
    metric.update([dict(masks=[empty], scores=[0.9], labels=[0], boxes=boxes)], dict(meta=[dict(id="0")]))
    assert metric.compute()["AP"] == pytest.approx(100)


def test_labels_follow_the_order_of_the_categories():
    truth = truth_of([(0, 0, square(5, 5))])
    truth["categories"].reverse()  # label 0 is now category 11, which has no object
    metric = CocoAP()
    feed(metric, truth, [(0, 1, 0.9, square(5, 5))])
    result = metric.compute()
    assert result["AP"] == pytest.approx(100)
    assert result["per_class"] == {"c0": {"AP": pytest.approx(100)}, "c1": {"AP": None}}


def test_errors_name_the_image():
    metric = CocoAP()
    metric.start(SimpleNamespace(annotations=truth_of([(0, 0, square(5, 5))])))

    def update(mask, label=0, image="0"):
        metric.update([dict(masks=[mask], scores=[0.5], labels=[label])], dict(meta=[dict(id=image)]))

    with pytest.raises(ValueError, match=r"cat.jpg: .* no image of this id"):
        update(square(5, 5), image="cat.jpg")
    with pytest.raises(ValueError, match=r"0: the predicted mask is of \(30, 40\) pixels, the image of \(60, 80\)"):
        update(square(5, 5, size=(30, 40)))
    with pytest.raises(ValueError, match="0: predicted class 2; the data set has 2"):
        update(square(5, 5), label=2)
    with pytest.raises(ValueError, match="no 'categories'"):
        metric.start(SimpleNamespace(annotations={"images": []}))
    with pytest.raises(ValueError, match="frequency"):
        truth = truth_of([])
        del truth["categories"][0]["frequency"]
        LvisAP().start(SimpleNamespace(annotations=truth))
    with pytest.raises(ConfigError, match="segm, bbox"):
        METRICS.get("LvisAP")(iou_type="mask")
