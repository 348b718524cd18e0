"""Ground truth and detections as run-length encoded masks, the form that the COCO family of scores reads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from segkit.dist import gather_objects
from segkit.registry import ConfigError
from segkit.types import Batch, Prediction

MISSING = "the data set's annotations have no '{}'; give them in COCO form (images, categories, annotations)"


class RleResults:
    """Collects the detections of a data set, a few hundred bytes each; no mask is ever decoded here.

    annotations: dict in COCO form: "images" (id, height, width), "categories" (id, name) in the order of the labels
    0..K-1, "annotations" (image_id, category_id, segmentation, area, bbox, iscrowd). outlines: whether masks are
    scored; ConfigError then for an annotation without a segmentation.
    """

    def __init__(self, annotations: dict[str, list[dict]], *, outlines: bool = True):
        for key in ("images", "categories", "annotations"):
            if key not in annotations:
                raise ValueError(MISSING.format(key))
        bare = [one for one in annotations["annotations"] if one.get("segmentation") is None] if outlines else []
        if bare:
            raise ConfigError(
                f"annotation {bare[0].get('id')} of image {bare[0]['image_id']} has no segmentation ({len(bare)} have "
                "none): masks cannot be scored; score boxes, CocoAP(iou_type='bbox') alone, or add the outlines"
            )
        self.annotations = annotations
        self._images = {str(image["id"]): image for image in annotations["images"]}
        self._categories = [category["id"] for category in annotations["categories"]]
        self._found: list[dict[str, Any]] = []

    def forget(self) -> None:
        """Drops the detections."""
        self._found = []

    def add(self, prediction: Sequence[Prediction], batch: Batch) -> None:
        """B predictions with "masks" (n RLE at original size), "scores" [n], "labels" [n] in 0..K-1 and, optionally,
        "boxes" [n,4] x0,y0,x1,y1; batch["meta"] gives each image's id, which is one of the annotations' image ids."""
        for one, meta in zip(prediction, batch["meta"], strict=True):
            image = self._images.get(str(meta["id"]))
            if image is None:
                raise ValueError(f"{meta['id']}: the data set's annotations have no image of this id")
            scores, labels = (torch.as_tensor(one[key]).tolist() for key in ("scores", "labels"))
            boxes = torch.as_tensor(one["boxes"]).double().tolist() if "boxes" in one else [None] * len(scores)
            for mask, score, label, box in zip(one["masks"], scores, labels, boxes, strict=True):
                self._found.append(self._detection(image, mask, score, label, box))

    def _detection(self, image: dict, mask: dict, score: float, label: int, box: list[float] | None) -> dict:
        if tuple(mask["size"]) != (image["height"], image["width"]):
            size = (image["height"], image["width"])
            raise ValueError(f"{image['id']}: predicted mask of {tuple(mask['size'])} pixels for an image of {size}")
        if not 0 <= label < len(self._categories):
            raise ValueError(f"{image['id']}: predicted class {label}; there are {len(self._categories)}")
        found = dict(image_id=image["id"], category_id=self._categories[label], score=score, segmentation=mask)
        if box is not None:
            found["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        return found

    def truth(self) -> dict[str, list[dict]]:
        """-> the annotations, new dicts that a scorer may change, numbered from 1 (0 reads as "no match" there)."""
        truth = [
            {"iscrowd": 0, **annotation, "id": number}
            for number, annotation in enumerate(self.annotations["annotations"], 1)
        ]
        return {**self.annotations, "annotations": truth}

    def detections(self, iou_type: str) -> dict[str, list[dict]]:
        """-> the detections of all processes in COCO form, by image; area is the mask's, or the box's for "bbox"."""
        from pycocotools import mask as rle

        found = [one for part in gather_objects(self._found) for one in part]
        position = {image["id"]: i for i, image in enumerate(self.annotations["images"])}
        # an image is scored by one process alone, hence a stable sort gives one order for any number of processes
        found.sort(key=lambda one: position[one["image_id"]])
        numbered = []
        for number, one in enumerate(found, 1):
            box = one["bbox"] if "bbox" in one else rle.toBbox(one["segmentation"]).tolist()
            area = float(box[2] * box[3]) if iou_type == "bbox" else float(rle.area(one["segmentation"]))
            numbered.append({**one, "bbox": box, "area": area, "id": number, "iscrowd": 0})
        return {**self.annotations, "annotations": numbered}


def coco_evaluation(results: RleResults, iou_type: str, *, ious: np.ndarray, max_detections: Sequence[int]) -> Any:
    """-> pycocotools' COCOeval after evaluate() and accumulate(), at the given IoU thresholds [T]; prints nothing."""
    import contextlib
    import io

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth, found = COCO(), COCO()
        truth.dataset, found.dataset = results.truth(), results.detections(iou_type)
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, iou_type)
        evaluation.params.iouThrs = np.asarray(ious)
        evaluation.params.maxDets = list(max_detections)
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def mean_of_known(values: np.ndarray) -> float | None:
    """values: precision or recall, -1 where there is no ground truth -> mean of the others in percent, or None."""
    known = values[values > -1]
    return float(100 * known.mean()) if known.size else None


def index_of(threshold: float, ious: np.ndarray) -> int:
    """Place of a threshold in a grid of them."""
    return int(np.argmin(np.abs(np.asarray(ious) - threshold)))
