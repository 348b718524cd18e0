"""A validation of many instances holds run-length codes alone, before, while and after it is scored."""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from segkit.metrics.coco_ap import CocoAP
from segkit.runners.instances.runner import as_prediction
from segkit.types import Found

IMAGES, OBJECTS, SIDE = 500, 100, 64
DENSE = IMAGES * OBJECTS * SIDE**2
"""Bytes of all predicted masks as arrays."""


@pytest.mark.slow  # half a minute: pycocotools' or hotcoco's records of 50,000 detections
def test_500_images_of_100_instances_take_a_part_of_their_masks():
    rng = np.random.default_rng(0)
    places = [[(int(y), int(x)) for y, x in rng.integers(0, SIDE - 8, (OBJECTS, 2))] for _ in range(IMAGES)]
    images = [dict(id=i, height=SIDE, width=SIDE) for i in range(IMAGES)]

    def masks_of(number: int) -> torch.Tensor:
        masks = torch.zeros(OBJECTS, SIDE, SIDE, dtype=torch.bool)
        for mask, (y, x) in zip(masks, places[number]):
            mask[y : y + 8, x : x + 8] = True
        return masks

    annotations = []
    for i in range(IMAGES):
        for (y, x), code in zip(places[i], as_prediction(found_of(masks_of(i)))["masks"]):
            entry = dict(id=0, image_id=i, category_id=1, iscrowd=0, area=64.0, bbox=[x, y, 8, 8])
            annotations.append({**entry, "segmentation": code})
    metric = CocoAP()
    truth = dict(images=images, categories=[dict(id=1, name="c")], annotations=annotations)
    metric.start(SimpleNamespace(annotations=truth))
    tracemalloc.start()
    try:
        for i in range(IMAGES):
            metric.update([as_prediction(found_of(masks_of(i)))], dict(meta=[dict(id=str(i))]))
        held, peak = tracemalloc.get_traced_memory()
        assert held < DENSE / 4  # codes, boxes and scores of 50,000 detections
        assert peak - held < 40 * OBJECTS * SIDE**2  # of one image at a time
        assert metric.compute()["AP"] == pytest.approx(100)
        _, peak = tracemalloc.get_traced_memory()
        assert peak < DENSE
        metric.reset()
        assert tracemalloc.get_traced_memory()[0] < held / 10
    finally:
        tracemalloc.stop()


def found_of(masks: torch.Tensor) -> Found:
    """Instances of one class that are all sure, with the boxes of their masks."""
    boxes = torch.from_numpy(rle.toBbox(rle.encode(np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8)))))
    boxes[:, 2:] += boxes[:, :2]
    return Found(torch.ones(len(masks)), torch.zeros(len(masks), dtype=torch.int64), masks, boxes.float())
