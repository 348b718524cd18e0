"""IoU of the masks of objects that were found: wrong and double detections do not enter it.

n objects and m detections of an image and class.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.constraints.named import Fraction
from segkit.metrics._rle_results import RleResults, without_images
from segkit.metrics.base import AnnotatedSet, Metric
from segkit.registry import METRICS
from segkit.types import Batch, InstancePrediction


@METRICS.register
class MatchedMaskIoU(Metric):
    """Mean IoU of the masks of detections that hit a true box, and the share of objects that are hit.

    The same is computed with the detections' filled boxes as masks. Detections, best first, each take the free object
    of their class whose box overlaps theirs most. Crowds are left out. The data set must have `annotations` as for
    CocoAP. The section of the scores is "matched".

    Args:
        score: least score of a detection that counts.
        box_iou: least IoU of the boxes of a detection and its object.
    """

    section = "matched"
    main_score = "mask_IoU"
    lower_is_better = ()

    def __init__(self, score: Fraction = 0.3, box_iou: Fraction = 0.5):
        self.score, self.box_iou = score, box_iou

    def start(self, dataset: AnnotatedSet) -> None:
        """Reads the data set's annotations."""
        self._results = RleResults(dataset.annotations)

    def empty_scores(self, dataset: Any) -> dict[str, Any]:
        """Returns the scores of no image, see Metric; the annotations are not read."""
        return super().empty_scores(without_images(dataset))

    def reset(self) -> None:
        """Forgets all detections."""
        self._results.forget()

    def update(self, predictions: Sequence[InstancePrediction], batch: Batch) -> None:
        """Keeps the detections of B images; arguments as of CocoAP."""
        self._results.add(predictions, batch)

    def compute(self) -> dict:
        """Computes the scores of all processes.

        Returns:
            mask_IoU and filled_box_IoU, means over the hit objects, and recall, the share of objects that are hit, in
            percent (None without any); objects and detections, their numbers.
        """
        annotations = self._results.annotations
        sizes = {image["id"]: (image["height"], image["width"]) for image in annotations["images"]}
        truth = _grouped([entry for entry in annotations["annotations"] if not entry.get("iscrowd")])
        detections = self._results.detections("segm")["annotations"]
        found = _grouped([entry for entry in detections if entry["score"] >= self.score])
        rows = [np.zeros((0, 2))]
        for (image, category), known in truth.items():
            rows.append(hits(known, found.get((image, category), []), sizes[image], least=self.box_iou))
        ious = np.concatenate(rows)
        objects, hit = sum(len(known) for known in truth.values()), len(ious)
        means = [float(100 * mean) for mean in ious.mean(0)] if hit else [None, None]
        return {
            "mask_IoU": means[0],
            "filled_box_IoU": means[1],
            "recall": 100 * hit / objects if objects else None,
            "objects": objects,
            "detections": sum(len(entries) for entries in found.values()),
        }


def hits(known: list[dict], found: list[dict], size: tuple[int, int], *, least: float) -> np.ndarray:
    """Matches the detections and objects of one image and class.

    Args:
        known: objects in COCO form.
        found: detections in COCO form.
        size: (H, W) of the image.
        least: least IoU of the boxes of a detection and its object.

    Returns:
        IoU of each hit object's mask with the detection's mask and with its filled box, float64 [hits,2].
    """
    from pycocotools import mask as coco_mask

    if not found:
        return np.zeros((0, 2))
    found = sorted(found, key=lambda detection: -detection["score"])
    boxes = np.array([detection["bbox"] for detection in found], np.float64)
    true = np.array([entry["bbox"] for entry in known], np.float64)
    overlaps = np.asarray(coco_mask.iou(boxes, true, [0] * len(true)))
    filled = coco_mask.frPyObjects(boxes, *size)
    free, rows = np.ones(len(known), bool), []
    for i, overlap in enumerate(overlaps):
        best = int(np.where(free, overlap, -1).argmax())
        if not free[best] or overlap[best] < least:
            continue
        free[best] = False
        outline = [as_code(known[best]["segmentation"], size)]
        rows.append([coco_mask.iou([mask], outline, [0])[0, 0] for mask in (found[i]["segmentation"], filled[i])])
    return np.array(rows, np.float64).reshape(-1, 2)


def as_code(segmentation: list | dict, size: tuple[int, int]) -> dict:
    """Returns polygons or an RLE as a compressed RLE; size: (H, W) of the image."""
    from pycocotools import mask as coco_mask

    if isinstance(segmentation, dict):
        is_raw = isinstance(segmentation["counts"], list)
        return coco_mask.frPyObjects(segmentation, *size) if is_raw else segmentation
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, *size))


def _grouped(entries: list[dict]) -> dict[tuple, list[dict]]:
    """Entries by image and class."""
    groups = defaultdict(list)
    for entry in entries:
        groups[entry["image_id"], entry["category_id"]].append(entry)
    return groups
