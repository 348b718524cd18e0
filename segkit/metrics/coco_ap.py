"""COCO's average precision and recall, Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312, by pycocotools."""

from collections.abc import Sequence

import numpy as np

from segkit.ops.rle_results import RleResults, coco_evaluation, index_of, mean_of_known
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, Prediction

IOU_TYPES = ("segm", "bbox")
IOUS = np.linspace(0.5, 0.95, 10)
AREAS = {"s": 1, "m": 2, "l": 3}
"""Below 32^2, 32^2 to 96^2, above 96^2 pixels: places among pycocotools' area ranges; 0 is all."""


@METRICS.register
class CocoAP:
    """AP over IoU .50:.05:.95 and 101 recall points, AP50, AP75, by area, and AR, of instance masks or boxes.

    iou_type: "segm" or "bbox"; max_detections: detections per image and class that count, ascending: AP, AP50, AP75 and
    the values by area are taken at the last (COCO's own: 100), AR@n at each.
    start(dataset) needs `dataset.annotations`, a dict in COCO form whose categories are in the order of the labels; all
    its images are scored. update takes "masks" (RLE at original size), "scores", "labels" and, optionally, "boxes".
    compute() evaluates on every process what all of them have found.
    """

    def __init__(self, iou_type: str = "segm", max_detections: Sequence[int] = (1, 10, 100)):
        if iou_type not in IOU_TYPES:
            raise ConfigError(f"CocoAP.iou_type = {iou_type!r}: one of {', '.join(IOU_TYPES)}")
        self.iou_type = iou_type
        self.max_detections = tuple(sorted(max_detections))

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
        """-> AP, AP50, AP75, APs, APm, APl, AR@n for each n, ARs, ARm, ARl, per_class {name: {"AP"}}; in percent,
        null where there is no ground truth (pycocotools: -1)."""
        evaluated = coco_evaluation(self._results, self.iou_type, ious=IOUS, max_detections=self.max_detections).eval
        precision, recall = evaluated["precision"], evaluated["recall"]  # [T,R,K,A,M], [T,K,A,M]
        result: dict = {
            "AP": mean_of_known(precision[..., 0, -1]),
            "AP50": mean_of_known(precision[index_of(0.5, IOUS), ..., 0, -1]),
            "AP75": mean_of_known(precision[index_of(0.75, IOUS), ..., 0, -1]),
        }
        result |= {f"AP{name}": mean_of_known(precision[..., area, -1]) for name, area in AREAS.items()}
        result |= {f"AR@{n}": mean_of_known(recall[..., 0, i]) for i, n in enumerate(self.max_detections)}
        result |= {f"AR{name}": mean_of_known(recall[..., area, -1]) for name, area in AREAS.items()}
        # pycocotools sorts the categories by id
        names = [one["name"] for one in sorted(self._results.annotations["categories"], key=lambda one: one["id"])]
        result["per_class"] = {name: {"AP": mean_of_known(precision[:, :, k, 0, -1])} for k, name in enumerate(names)}
        return result
