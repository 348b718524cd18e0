"""Scores of instance masks on PASCAL VOC: AP at four IoUs and the average best overlap (Box2Mask, BoxLevelSet)."""

from collections.abc import Sequence

import numpy as np

from segkit.metrics._rle_results import RleResults, coco_evaluation, index_of, mean_of_known
from segkit.registry import METRICS
from segkit.types import Batch, Prediction

IOUS = np.linspace(0.25, 0.95, 15)


@METRICS.register
class VocAP:
    """AP25, AP50, AP70 and AP75: COCO's 101-point AP of instance masks at one IoU each, over all areas; and ABO.

    ABO (average best overlap): for each pair of an image and a class with both objects and detections, the mean over
    the objects of the best IoU of a detection; averaged over these pairs. max_detections: per image and class.
    start and update as for CocoAP: `dataset.annotations` in COCO form, RLE masks. Among the scores of other metrics
    they stand under "VOC".
    """

    section = "VOC"

    def __init__(self, max_detections: int = 100):
        self.max_detections = max_detections

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
        """-> AP25, AP50, AP70, AP75, ABO in percent; null where there is nothing to score."""
        evaluation = coco_evaluation(self._results, "segm", ious=IOUS, max_detections=[self.max_detections])
        precision = evaluation.eval["precision"]  # [T,R,K,A,M]
        result = {
            f"AP{percent}": mean_of_known(precision[index_of(percent / 100, IOUS), ..., 0, -1])
            for percent in (25, 50, 70, 75)
        }
        # one array [detections, objects] for each pair of an image and a class, empty where either is missing
        overlaps = [np.max(ious, 0).mean() for ious in evaluation.ious.values() if np.size(ious)]
        return result | {"ABO": float(100 * np.mean(overlaps)) if overlaps else None}
