"""Ground truth and detections as run-length encoded masks, the form that COCO-like scores read."""

import importlib.util
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit.dist import all_reduce_sum, gather_objects
from segkit.registry import ConfigError
from segkit.types import Batch, InstancePrediction

HOTCOCO, PYCOCOTOOLS = "hotcoco", "pycocotools"

MISSING = "the data set's annotations have no '{}'; give them in COCO form (images, categories, annotations)"


class RleResults:
    """Collects the detections of a data set, a few hundred bytes each; no mask is decoded here.

    Args:
        annotations: in COCO form: "images" (id, height, width), "categories" (id, name) in the order of the labels
            0..K-1, "annotations" (image_id, category_id, segmentation, area, bbox, iscrowd).
        outlines: whether masks are scored.

    Raises:
        ValueError: a list of the COCO form is missing.
        ConfigError: masks are scored, and an annotation has no segmentation.
    """

    def __init__(self, annotations: dict[str, list[dict]], *, outlines: bool = True):
        for key in ("images", "categories", "annotations"):
            if key not in annotations:
                raise ValueError(MISSING.format(key))
        bare = [entry for entry in annotations["annotations"] if outlines and entry.get("segmentation") is None]
        if bare:
            raise ConfigError(
                f"annotation {bare[0].get('id')} of image {bare[0]['image_id']} has no segmentation ({len(bare)} have "
                "none), so masks cannot be scored; score boxes alone, CocoAP(iou_type='bbox'), or add the outlines"
            )
        self.annotations = annotations
        self._images = {str(image["id"]): image for image in annotations["images"]}
        self._categories = [category["id"] for category in annotations["categories"]]
        self._found: list[dict[str, Any]] = []

    def forget(self) -> None:
        """Forgets the detections."""
        self._found = []

    def add(self, predictions: Sequence[InstancePrediction], batch: Batch) -> None:
        """Adds the detections of a batch.

        Args:
            predictions: B with "masks" (n RLE at original size), "scores" [n], "labels" [n] in 0..K-1 and, optionally,
                "boxes" [n,4] x0, y0, x1, y1.
            batch: "meta" holds each image's id, one of the annotations' image ids.

        Raises:
            ValueError: the annotations have no such image or class, or a mask is not of the image's size.
        """
        for prediction, meta in zip(predictions, batch["meta"], strict=True):
            image = self._images.get(str(meta["id"]))
            if image is None:
                raise ValueError(f"{meta['id']}: the data set's annotations have no image of this id")
            scores = torch.as_tensor(prediction["scores"]).tolist()
            labels = torch.as_tensor(prediction["labels"]).tolist()
            boxes: list = [None] * len(scores)
            if "boxes" in prediction:
                boxes = torch.as_tensor(prediction["boxes"]).double().tolist()
            for mask, score, label, box in zip(prediction["masks"], scores, labels, boxes, strict=True):
                self._found.append(self._detection(image, mask, score, label, box))

    def _detection(self, image: dict, mask: dict, score: float, label: int, box: list[float] | None) -> dict:
        if tuple(mask["size"]) != (image["height"], image["width"]):
            size = (image["height"], image["width"])
            raise ValueError(
                f"{image['id']}: the predicted mask is of {tuple(mask['size'])} pixels, the image of {size}; "
                "must be of the image's original size"
            )
        if not 0 <= label < len(self._categories):
            raise ValueError(
                f"{image['id']}: predicted class {label}; the data set has {len(self._categories)} classes"
            )
        found = dict(image_id=image["id"], category_id=self._categories[label], score=score, segmentation=mask)
        if box is not None:
            found["bbox"] = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
        return found

    def truth(self) -> dict[str, list[dict]]:
        """Returns the annotations as new dicts that a scorer may change, numbered from 1 (0 means "no match")."""
        truth = [
            {"iscrowd": 0, **annotation, "id": number}
            for number, annotation in enumerate(self.annotations["annotations"], 1)
        ]
        return {**self.annotations, "annotations": truth}

    def has_finite_scores(self) -> bool:
        """Whether every score of all processes is a finite number."""
        unknown = sum(not np.isfinite(detection["score"]) for detection in self._found)
        return not int(all_reduce_sum(torch.tensor(unknown)))

    def of_this_process(self) -> list[dict]:
        """Returns the detections that were added here in COCO form, with their boxes."""
        from pycocotools import mask as rle

        return [{**d, "bbox": d.get("bbox") or rle.toBbox(d["segmentation"]).tolist()} for d in self._found]

    def detections(self, iou_type: str) -> dict[str, list[dict]]:
        """Returns the detections of all processes in COCO form, by image; their area is the box's for "bbox"."""
        from pycocotools import mask as rle

        found = [detection for of_process in gather_objects(self._found) for detection in of_process]
        position = {image["id"]: i for i, image in enumerate(self.annotations["images"])}
        # an image is scored by one process alone, hence a stable sort gives one order for any number of processes
        found.sort(key=lambda detection: position[detection["image_id"]])
        numbered = []
        for number, detection in enumerate(found, 1):
            mask = detection["segmentation"]
            box = detection["bbox"] if "bbox" in detection else rle.toBbox(mask).tolist()
            area = float(box[2] * box[3]) if iou_type == "bbox" else float(rle.area(mask))
            numbered.append({**detection, "bbox": box, "area": area, "id": number, "iscrowd": 0})
        return {**self.annotations, "annotations": numbered}


class WithoutImages(NamedTuple):
    """Annotations of a data set of no images: its categories alone."""

    annotations: dict[str, list[dict]]


def without_images(dataset: Any) -> WithoutImages:
    """Returns the categories of a data set by its classes; its annotations, which may be large, are not read."""
    categories = [
        {"id": number, "name": name, "frequency": "f"} for number, name in enumerate(getattr(dataset, "classes", ()), 1)
    ]
    return WithoutImages({"images": [], "categories": categories, "annotations": []})


def coco_evaluation(results: RleResults, iou_type: str, *, ious: np.ndarray, max_detections: Sequence[int]) -> Any:
    """Evaluates with pycocotools, without its prints.

    Args:
        results: truth and detections.
        iou_type: "segm" or "bbox".
        ious: IoU thresholds [T].
        max_detections: numbers of detections per image and class that count, ascending.

    Returns:
        COCOeval after evaluate() and accumulate().
    """
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


class Curves(NamedTuple):
    """What COCO's evaluation accumulates, -1 where there is no ground truth.

    Attributes:
        precision: float64 [T,R,K,A,M]: IoU thresholds, 101 recalls, categories by id, areas, numbers of detections.
        recall: float64 [T,K,A,M].
        scores: float64 [T,R,K,A,M], of the detection that reaches each recall.
    """

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


def coco_curves(results: RleResults, iou_type: str, *, ious: np.ndarray, max_detections: Sequence[int]) -> Curves:
    """Evaluates with hotcoco where it is installed and takes the data, otherwise with pycocotools; equal to the bit.

    Args:
        results, iou_type, ious, max_detections: as of coco_evaluation.
    """
    package = package_for(results)
    logging.getLogger(__name__).info("COCO's %s scores are computed by %s", iou_type, package)
    if package == HOTCOCO:
        return _hot_curves(results, iou_type, ious, max_detections)
    evaluated = coco_evaluation(results, iou_type, ious=ious, max_detections=max_detections).eval
    return Curves(evaluated["precision"], evaluated["recall"], evaluated["scores"])


def package_for(results: RleResults) -> str:
    """Returns which package evaluates: hotcoco takes ids that are whole numbers from 0 on, and finite scores."""
    if importlib.util.find_spec(HOTCOCO) is None:
        return PYCOCOTOOLS
    annotations = results.annotations
    ids = [entry["id"] for key in ("images", "categories") for entry in annotations[key]]
    has_plain_ids = all(type(number) is int and 0 <= number < 2**63 for number in ids)
    return HOTCOCO if has_plain_ids and results.has_finite_scores() else PYCOCOTOOLS


def _hot_curves(results: RleResults, iou_type: str, ious: np.ndarray, max_detections: Sequence[int]) -> Curves:
    import hotcoco

    def entry(annotation: dict) -> dict:
        """The keys that pycocotools reads, so that both fail where one is missing."""
        shape = "bbox" if iou_type == "bbox" else "segmentation"
        kept = {key: annotation[key] for key in ("id", "image_id", "category_id", "area", shape)}
        if "score" in annotation:
            kept["score"] = annotation["score"]
        return {**kept, "iscrowd": int(bool(annotation["iscrowd"]))}

    def index(dataset: dict[str, list[dict]]) -> Any:
        images = [{key: image[key] for key in ("id", "height", "width")} for image in dataset["images"]]
        categories = [{"id": category["id"], "name": str(category["name"])} for category in dataset["categories"]]
        rows = [entry(annotation) for annotation in dataset["annotations"]]
        return hotcoco.COCO({"images": images, "categories": categories, "annotations": rows})

    evaluation: Any = hotcoco.COCOeval(index(results.truth()), index(results.detections(iou_type)), iou_type)
    evaluation.params.iou_thrs = [float(threshold) for threshold in ious]
    evaluation.params.max_dets = list(max_detections)
    evaluation.evaluate()
    evaluation.accumulate()
    return Curves(*(evaluation.eval[key] for key in Curves._fields))


def mean_of_known(values: np.ndarray) -> float | None:
    """Returns the mean of precision or recall in percent without the values of -1 (no ground truth), or None."""
    known = values[values > -1]
    return float(100 * known.mean()) if known.size else None


def index_of(threshold: float, ious: np.ndarray) -> int:
    """Returns the index of a threshold in a grid of them."""
    return int(np.argmin(np.abs(np.asarray(ious) - threshold)))
