"""AP of instance masks at four IoUs and the average best overlap, as reported on PASCAL VOC (Box2Mask, BoxLevelSet)."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.constraints.named import PositiveInt
from segkit.metrics._rle_results import RleResults, coco_evaluation, index_of, mean_of_known, without_images
from segkit.metrics.base import AnnotatedSet, Metric
from segkit.registry import METRICS
from segkit.types import Batch, InstancePrediction

IOUS = np.linspace(0.25, 0.95, 15)


@METRICS.register
class VocAP(Metric):
    """AP25, AP50, AP70 and AP75 of instance masks, and ABO, the average best overlap.

    The APs are COCO's 101-point AP at one IoU each, over all areas. ABO: for each pair of an image and a class with
    both objects and detections, the mean over the objects of the best IoU of a detection; averaged over these pairs.
    The data set must have `annotations` as for CocoAP. The section of the scores is "VOC".

    Args:
        max_detections: detections per image and class that count.
    """

    section = "VOC"
    main_score = "AP50"
    lower_is_better = ()

    def __init__(self, max_detections: PositiveInt = 100):
        self.max_detections = max_detections

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
        """Returns AP25, AP50, AP70, AP75, ABO in percent; None where nothing can be scored."""
        evaluation = coco_evaluation(self._results, "segm", ious=IOUS, max_detections=[self.max_detections])
        precision = evaluation.eval["precision"]  # [T,R,K,A,M]
        result = {
            f"AP{percent}": mean_of_known(precision[index_of(percent / 100, IOUS), ..., 0, -1])
            for percent in (25, 50, 70, 75)
        }
        # one array [detections, objects] for each pair of an image and a class, empty where either is missing
        overlaps = [np.max(ious, 0).mean() for ious in evaluation.ious.values() if np.size(ious)]
        return result | {"ABO": float(100 * np.mean(overlaps)) if overlaps else None}
