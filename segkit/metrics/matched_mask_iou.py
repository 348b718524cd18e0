"""How well masks of objects fit that were found at all: a score that boxes found wrongly or twice do not enter. n
objects and m detections of an image and class."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from segkit.metrics._rle_results import RleResults
from segkit.registry import METRICS
from segkit.types import Batch, Prediction


@METRICS.register
class MatchedMaskIoU:
    """Mean IoU of the masks of detections that hit a true box, the same with the detections' filled boxes for masks,
    and how many objects were hit.

    Detections of at least `score`, best first, each take the free object of their class whose box overlaps theirs
    most, if by an IoU of `box_iou` at least. Crowds take no part. start and update as for CocoAP; among the scores of
    other metrics they stand under "matched".
    """

    section = "matched"

    def __init__(self, score: float = 0.3, box_iou: float = 0.5):
        self.score, self.box_iou = score, box_iou

    def start(self, dataset) -> None:
        """Takes the data set's annotations."""
        self._results = RleResults(dataset.annotations)

    def reset(self) -> None:
        """Drops all detections."""
        self._results.forget()

    def update(self, prediction: Sequence[Prediction], batch: Batch) -> None:
        """Keeps the detections of B images."""
        self._results.add(prediction, batch)

    def compute(self) -> dict:
        """-> mask_IoU and filled_box_IoU, means over the hit objects, and recall, the share of objects that are hit, in
        percent (null without any); objects and detections, their numbers; reduced over all processes."""
        annotations = self._results.annotations
        sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
        truth = _grouped([one for one in annotations["annotations"] if not one.get("iscrowd")])
        found = _grouped([one for one in self._results.detections("segm")["annotations"] if one["score"] >= self.score])
        parts = [
            hits(known, found.get(place, []), sizes[place[0]], least=self.box_iou) for place, known in truth.items()
        ]
        ious = np.concatenate([np.zeros((0, 2)), *parts])
        objects, hit = sum(len(known) for known in truth.values()), len(ious)
        means = [float(100 * mean) for mean in ious.mean(0)] if hit else [None, None]
        return {
            "mask_IoU": means[0],
            "filled_box_IoU": means[1],
            "recall": 100 * hit / objects if objects else None,
            "objects": objects,
            "detections": sum(len(some) for some in found.values()),
        }


def hits(known: list[dict], found: list[dict], size: tuple[int, int], *, least: float) -> np.ndarray:
    """known, found: entries of one image (of `size`) and class in COCO form -> float64 [hits,2], IoU of each hit
    object's mask with the detection's mask and with its filled box."""
    from pycocotools import mask as coco_mask

    if not found:
        return np.zeros((0, 2))
    found = sorted(found, key=lambda one: -one["score"])
    boxes, true = (np.array([one["bbox"] for one in some], np.float64) for some in (found, known))
    overlaps = np.asarray(coco_mask.iou(boxes, true, [0] * len(true)))
    filled = coco_mask.frPyObjects(boxes, *size)
    free, rows = np.ones(len(known), bool), []
    for i, overlap in enumerate(overlaps):
        best = int(np.where(free, overlap, -1).argmax())
        if not free[best] or overlap[best] < least:
            continue
        free[best] = False
        outline = [as_code(known[best]["segmentation"], size)]
        rows.append([coco_mask.iou([one], outline, [0])[0, 0] for one in (found[i]["segmentation"], filled[i])])
    return np.array(rows, np.float64).reshape(-1, 2)


def as_code(segmentation: list | dict, size: tuple[int, int]) -> dict:
    """Polygons or RLE -> compressed RLE."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict):
        is_raw = isinstance(segmentation["counts"], list)
        return coco_mask.frPyObjects(segmentation, *size) if is_raw else segmentation
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))


def _grouped(entries: list[dict]) -> dict[tuple, list[dict]]:
    groups = defaultdict(list)
    for one in entries:
        groups[one["image_id"], one["category_id"]].append(one)
    return groups
