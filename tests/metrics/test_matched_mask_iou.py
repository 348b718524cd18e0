"""Masks of objects that were found: by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from segkit.metrics.coco_ap import CocoAP, with_filled_boxes
from segkit.metrics.matched_mask_iou import MatchedMaskIoU

SIZE = (20, 30)


def code(*areas: tuple[int, int, int, int]) -> dict:
    """Rectangles x0, y0, x1, y1 -> RLE."""
    mask = np.zeros(SIZE, np.uint8)
    for x0, y0, x1, y1 in areas:
        mask[y0:y1, x0:x1] = 1
    return coco_mask.encode(np.asfortranarray(mask))


def truth() -> dict:
    """Two objects of class 5 (one a lower half of its box, as a polygon), one of class 9, a crowd."""
    rows = [
        (5, [0, 0, 10, 10], [[0, 0, 10, 0, 10, 10, 0, 10]], 0),
        (5, [20, 0, 10, 10], code((20, 5, 30, 10), (20, 0, 21, 1), (29, 0, 30, 1)), 0),
        (9, [0, 12, 8, 8], code((0, 12, 8, 20)), 0),
        (9, [15, 12, 8, 8], code((15, 12, 23, 20)), 1),
    ]
    keys = ("category_id", "bbox", "segmentation", "iscrowd")
    return dict(
        images=[dict(id="a", height=SIZE[0], width=SIZE[1])],
        categories=[dict(id=5, name="x"), dict(id=9, name="y")],
        annotations=[dict(zip(keys, row)) | dict(id=i, image_id="a", area=50) for i, row in enumerate(rows)],
    )


def scored(*found: tuple[float, int, tuple, dict]) -> dict:
    metric = MatchedMaskIoU()
    metric.start(SimpleNamespace(annotations=truth()))
    metric.reset()
    scores, labels, boxes, masks = ([one[i] for one in found] for i in range(4))
    prediction = dict(scores=scores, labels=labels, boxes=np.array(boxes, float).reshape(-1, 4), masks=masks)
    metric.update([prediction], dict(meta=[dict(id="a")]))
    return metric.compute()


def test_by_hand():
    result = scored(
        (0.9, 0, (0, 0, 10, 10), code((0, 0, 10, 5))),  # half of the first object
        (0.8, 0, (0, 0, 10, 9), code((0, 0, 10, 10))),  # the same again: the object is taken
        (0.7, 0, (20, 0, 30, 10), code((20, 5, 30, 10))),  # the second one's lower half
        (0.6, 0, (0, 12, 8, 20), code((0, 12, 8, 20))),  # of the other class
        (0.29, 1, (0, 12, 8, 20), code((0, 12, 8, 20))),  # not sure enough
    )
    assert result["objects"] == 3 and result["detections"] == 4
    assert result["recall"] == pytest.approx(200 / 3)
    assert result["mask_IoU"] == pytest.approx(100 * (0.5 + 50 / 52) / 2)
    assert result["filled_box_IoU"] == pytest.approx(100 * (1 + 52 / 100) / 2)


def test_the_nearest_free_box_above_the_limit():
    result = scored((0.9, 0, (4, 0, 14, 10), code((0, 0, 10, 10))), (0.8, 1, (0, 12, 8, 17), code((0, 12, 8, 20))))
    # 60 of 140 pixels are too few, 40 of 64 are not
    assert result["recall"] == pytest.approx(100 / 3) and result["mask_IoU"] == pytest.approx(100)
    assert result["filled_box_IoU"] == pytest.approx(100 * 40 / 64)


def test_nothing_found_and_nothing_there():
    assert scored() == dict(mask_IoU=None, filled_box_IoU=None, recall=0.0, objects=3, detections=0)
    metric = MatchedMaskIoU()
    metric.start(SimpleNamespace(annotations={**truth(), "annotations": []}))
    metric.reset()
    assert metric.compute()["recall"] is None


def test_filled_boxes_as_masks():
    boxes = np.array([[2, 3, 7, 9], [5, 5, 5, 8]], np.float32)
    filled = with_filled_boxes(dict(boxes=boxes, masks=[code(), code()], scores=[1, 1], labels=[0, 0]))
    assert np.array_equal(coco_mask.decode(filled["masks"][0]), coco_mask.decode(code((2, 3, 7, 9))))
    assert coco_mask.area(filled["masks"][1]) == 0
    assert CocoAP().section == "segm" and CocoAP("bbox").section == "bbox" and CocoAP(filled=True).section == "filled"


def test_ap_at_a_hundred_and_the_rest_at_the_last():
    """A hundred false detections come before the true one: it counts for AP50 of 300 detections alone."""
    metric = CocoAP(max_detections=(100, 300))
    metric.start(SimpleNamespace(annotations={**truth(), "annotations": truth()["annotations"][:1]}))
    metric.reset()
    masks = [code((25, 15, 28, 18))] * 100 + [code((0, 0, 10, 10))]
    prediction = dict(masks=masks, scores=np.linspace(1, 0.5, 101), labels=[0] * 101)
    metric.update([prediction], dict(meta=[dict(id="a")]))
    result = metric.compute()
    assert result["AP"] == 0 and result["AP50"] == pytest.approx(100 / 101) and result["AR@300"] == 100
