"""COCO's average precision and recall of instances, by pycocotools or, where it is installed, by hotcoco.

Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np

from segkit.constraints.named import OneOf, PositiveInt
from segkit.metrics._rle_results import RleResults, coco_curves, index_of, mean_of_known, without_images
from segkit.metrics.base import AnnotatedSet, Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, InstancePrediction

IOU_TYPES = ("segm", "bbox")
IOUS = np.linspace(0.5, 0.95, 10)
AREAS = {"s": 1, "m": 2, "l": 3}
"""Below 32^2, 32^2 to 96^2, above 96^2 pixels: indices of pycocotools' area ranges; 0 is all."""


@METRICS.register
class CocoAP(Metric):
    """COCO average precision and recall of instance masks or boxes.

    AP over IoU .50:.05:.95 and 101 recall points, AP50, AP75, AP by area, and AR. The data set must have `annotations`
    in COCO form whose categories are in the order of the labels; all its images are scored. compute() evaluates on
    every process what all of them have found.

    Args:
        iou_type: "segm" or "bbox"; also the section of the scores.
        max_detections: detections per image and class that count, ascending: AR@n is computed at each of them, AP at
            100 (at the last, where 100 is none of them) and the rest at the last, as pycocotools does; the published
            box-supervised tables have (100, 300, 1000).
        filled: scores the filled boxes of the predictions as masks, what a detector of boxes alone would give; the
            section of the scores is then "filled".

    Raises:
        ConfigError: unknown iou_type.
    """

    main_score = "AP"
    lower_is_better = ()

    def __init__(
        self,
        iou_type: Annotated[str, OneOf(IOU_TYPES)] = "segm",
        max_detections: Sequence[PositiveInt] = (1, 10, 100),
        filled: bool = False,
    ):
        if iou_type not in IOU_TYPES:
            raise ConfigError(f"CocoAP.iou_type = {iou_type!r}: must be one of {', '.join(IOU_TYPES)}")
        self.iou_type, self.filled = iou_type, filled
        self.section = "filled" if filled else iou_type
        self.max_detections = tuple(sorted(max_detections))

    def start(self, dataset: AnnotatedSet) -> None:
        """Reads the data set's annotations."""
        self._results = RleResults(dataset.annotations, outlines=self.iou_type == "segm")

    def empty_scores(self, dataset: Any) -> dict[str, Any]:
        """Returns the scores of no image, see Metric; the annotations are not read."""
        return super().empty_scores(without_images(dataset))

    def reset(self) -> None:
        """Forgets all detections."""
        self._results.forget()

    def update(self, predictions: Sequence[InstancePrediction], batch: Batch) -> None:
        """Keeps the detections of B images.

        Args:
            predictions: B with "masks" (RLE at original size), "scores", "labels" and, optionally, "boxes".
            batch: "meta" holds the images' ids.
        """
        if self.filled:
            predictions = [with_filled_boxes(prediction) for prediction in predictions]
        self._results.add(predictions, batch)

    def compute(self) -> dict:
        """Computes the scores of all processes.

        Returns:
            AP, AP50, AP75, APs, APm, APl, AR@n for each n, ARs, ARm, ARl and per_class {name: {"AP"}} in percent; None
            where there is no ground truth (pycocotools: -1).
        """
        curves = coco_curves(self._results, self.iou_type, ious=IOUS, max_detections=self.max_detections)
        precision, recall = curves.precision, curves.recall  # [T,R,K,A,M], [T,K,A,M]
        at = self.max_detections.index(100) if 100 in self.max_detections else -1
        result: dict = {
            "AP": mean_of_known(precision[..., 0, at]),
            "AP50": mean_of_known(precision[index_of(0.5, IOUS), ..., 0, -1]),
            "AP75": mean_of_known(precision[index_of(0.75, IOUS), ..., 0, -1]),
        }
        result |= {f"AP{name}": mean_of_known(precision[..., area, -1]) for name, area in AREAS.items()}
        result |= {f"AR@{n}": mean_of_known(recall[..., 0, i]) for i, n in enumerate(self.max_detections)}
        result |= {f"AR{name}": mean_of_known(recall[..., area, -1]) for name, area in AREAS.items()}
        # pycocotools sorts the categories by id
        categories = sorted(self._results.annotations["categories"], key=lambda category: category["id"])
        names = [category["name"] for category in categories]
        result["per_class"] = {name: {"AP": mean_of_known(precision[:, :, k, 0, at])} for k, name in enumerate(names)}
        return result


def with_filled_boxes(prediction: InstancePrediction) -> InstancePrediction:
    """Returns the prediction with its filled boxes as masks; an empty box gives an empty mask."""
    from pycocotools import mask as coco_mask

    boxes = np.asarray(prediction["boxes"], np.float64).reshape(-1, 4)
    if not len(boxes):
        return prediction
    height, width = prediction["masks"][0]["size"]
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1)
    return {**prediction, "masks": coco_mask.frPyObjects(corners, height, width)}
