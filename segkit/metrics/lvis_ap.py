"""LVIS average precision of instances, by the lvis package.

Gupta et al., CVPR 2019, https://arxiv.org/abs/1908.03195.
"""

import logging
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.constraints.named import PositiveInt
from segkit.metrics._rle_results import RleResults, index_of, mean_of_known, without_images
from segkit.metrics.base import AnnotatedSet, Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, InstancePrediction

IOU_TYPES = ("segm", "bbox")
IMAGE_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")
AREAS = {"s": 1, "m": 2, "l": 3}
FREQUENCIES = {"r": 0, "c": 1, "f": 2}


def precision_curve(matched: np.ndarray, ignored: np.ndarray, num_truth: int, points: np.ndarray) -> tuple:
    """Computes precision at given recalls.

    Args:
        matched: bool [T,D], detections by falling score that hit an object.
        ignored: bool [T,D], detections that do not count.
        num_truth: number of objects.
        points: recalls [R].

    Returns:
        Precision float [T,R], each the best precision at that recall or above, and the recall float [T] reached.
    """
    tp = np.cumsum(matched & ~ignored, axis=1, dtype=np.float64)
    fp = np.cumsum(~matched & ~ignored, axis=1, dtype=np.float64)
    precision = tp / (tp + fp + np.spacing(1))
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # a column of zeros for the recalls that are never reached
    precision = np.pad(precision, ((0, 0), (0, 1)))
    recall = tp / num_truth
    at = np.stack([np.searchsorted(row, points, side="left") for row in recall])
    reached = recall[:, -1] if recall.shape[1] else np.zeros(len(recall))
    return np.take_along_axis(precision, at, axis=1), reached


def evaluator(truth: dict, found: dict, iou_type: str) -> Any:
    """Evaluates annotations in memory with the lvis package; runs with numpy 2.

    Args:
        truth: annotations in LVIS' form.
        found: detections in the same form.
        iou_type: "segm" or "bbox".

    Returns:
        LVISEval after evaluate() and accumulate().
    """
    from lvis import LVIS, LVISEval, LVISResults

    class Evaluation(LVISEval):
        """LVISEval whose accumulate() does without np.float, which numpy 2 does not have."""

        def accumulate(self) -> None:
            """Sets eval["precision"] [T,R,K,A] and eval["recall"] [T,K,A]; -1 where there is no ground truth."""
            params = self.params
            shape = (len(params.cat_ids), len(params.area_rng), len(params.img_ids))
            precision = -np.ones((len(params.iou_thrs), len(params.rec_thrs), *shape[:2]))
            recall = -np.ones((len(params.iou_thrs), *shape[:2]))
            for at in np.ndindex(shape[:2]):
                first = int(np.ravel_multi_index(at, shape[:2])) * shape[2]
                images = [image for image in self.eval_imgs[first : first + shape[2]] if image is not None]
                num_truth = sum(int(np.count_nonzero(image["gt_ignore"] == 0)) for image in images)
                if not num_truth:
                    continue
                order = np.argsort(-np.concatenate([image["dt_scores"] for image in images]), kind="mergesort")
                matched = np.concatenate([image["dt_matches"] for image in images], axis=1)[:, order] != 0
                ignored = np.concatenate([image["dt_ignore"] for image in images], axis=1)[:, order] != 0
                k, area = at
                precision[:, :, k, area], recall[:, k, area] = precision_curve(
                    matched, ignored, num_truth, params.rec_thrs
                )
            self.eval = {"params": params, "precision": precision, "recall": recall}

    # the constructors read files, copy everything and fail on an empty list of detections
    indexed = []
    for cls, dataset in ((LVIS, truth), (LVISResults, found)):
        index = cls.__new__(cls)
        index.logger = logging.getLogger(__name__)
        index.dataset = dataset
        index._create_index()
        indexed.append(index)
    evaluation = Evaluation(*indexed, iou_type)
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


@METRICS.register
class LvisAP(Metric):
    """LVIS average precision and recall of instance masks or boxes, with LVIS' federated rule.

    AP over IoU .50:.05:.95, AP50, AP75, AP by area and by how rare a class is, and AR. A detection of a class that an
    image was not checked for counts neither way. The data set must have `annotations` in LVIS' form: COCO's, and for
    each image neg_category_ids and not_exhaustive_category_ids, for each category frequency ("r", "c", "f").

    Args:
        iou_type: "segm" or "bbox"; also the section of the scores.
        max_detections: best scored detections per image, over all classes, that count.

    Raises:
        ConfigError: unknown iou_type.
    """

    main_score = "AP"
    lower_is_better = ()

    def __init__(self, iou_type: str = "segm", max_detections: PositiveInt = 300):
        if iou_type not in IOU_TYPES:
            raise ConfigError(f"LvisAP.iou_type = {iou_type!r}: must be one of {', '.join(IOU_TYPES)}")
        self.iou_type = self.section = iou_type
        self.max_detections = max_detections

    def start(self, dataset: AnnotatedSet) -> None:
        """Reads the data set's annotations.

        Raises:
            ValueError: they are not in LVIS' form.
        """
        self._results = RleResults(dataset.annotations, outlines=self.iou_type == "segm")
        truth = self._results.annotations
        needed = [(image, key) for image in truth["images"] for key in IMAGE_KEYS]
        needed += [(category, "frequency") for category in truth["categories"]]
        for entry, key in needed:
            if key not in entry:
                raise ValueError(
                    f"id {entry['id']} of the data set's annotations has no '{key}'; use CocoAP for COCO's sets"
                )

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
            AP, AP50, AP75, APs, APm, APl, APr, APc, APf, AR, ARs, ARm, ARl in percent; None without ground truth.
        """
        found = self._results.detections(self.iou_type)
        found["annotations"] = self._best(found["annotations"])
        evaluation = evaluator(self._results.truth(), found, self.iou_type)
        precision, recall = evaluation.eval["precision"], evaluation.eval["recall"]  # [T,R,K,A], [T,K,A]
        ious = evaluation.params.iou_thrs
        result = {
            "AP": mean_of_known(precision[..., 0]),
            "AP50": mean_of_known(precision[index_of(0.5, ious), ..., 0]),
            "AP75": mean_of_known(precision[index_of(0.75, ious), ..., 0]),
        }
        result |= {f"AP{name}": mean_of_known(precision[..., area]) for name, area in AREAS.items()}
        groups = evaluation.freq_groups
        result |= {f"AP{name}": mean_of_known(precision[:, :, groups[i], 0]) for name, i in FREQUENCIES.items()}
        result["AR"] = mean_of_known(recall[..., 0])
        return result | {f"AR{name}": mean_of_known(recall[..., area]) for name, area in AREAS.items()}

    def _best(self, found: list[dict]) -> list[dict]:
        """The max_detections best scored detections of each image."""
        by_image = defaultdict(list)
        for detection in found:
            by_image[detection["image_id"]].append(detection)
        best = []
        for of_image in by_image.values():
            best += sorted(of_image, key=lambda detection: -detection["score"])[: self.max_detections]
        return best
