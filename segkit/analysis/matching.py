"""Matches detections with objects image by image, by pycocotools, for MatchTable."""

from typing import Any

import numpy as np

from segkit.analysis.match_table import AREAS, MatchTable
from segkit.metrics._rle_results import RleResults, coco_evaluation
from segkit.metrics.coco_ap import IOUS


def match_table(results: RleResults, iou_type: str, max_detections: tuple[int, ...]) -> MatchTable:
    """Matches the detections of all processes.

    Args:
        results: truth and detections.
        iou_type: "segm" or "bbox".
        max_detections: of the metric CocoAP, ascending.
    """
    evaluation = coco_evaluation(results, iou_type, ious=IOUS, max_detections=max_detections)
    params = evaluation.params
    ids, categories = list(params.imgIds), list(params.catIds)
    objects = np.zeros((len(AREAS), len(ids), len(categories)), np.int64)
    rows: list[tuple[int, int, int, float]] = []
    matches: list[np.ndarray] = []
    ignored: list[np.ndarray] = []
    for k in range(len(categories)):
        for i in range(len(ids)):
            entries = [_entry(evaluation, k, a, i, len(ids)) for a in range(len(AREAS))]
            for a, entry in enumerate(entries):
                objects[a, i, k] = 0 if entry is None else int((np.asarray(entry["gtIgnore"]) == 0).sum())
            if entries[0] is None or not entries[0]["dtScores"]:
                continue
            confidences = entries[0]["dtScores"]
            rows += [(i, k, rank, score) for rank, score in enumerate(confidences)]
            matches.append(np.stack([np.asarray(entry["dtMatches"]) > 0 for entry in entries]))
            ignored.append(np.stack([np.asarray(entry["dtIgnore"]) > 0 for entry in entries]))
    shape = (len(AREAS), len(IOUS), 0)
    table = np.array(rows, np.float64).reshape(-1, 4)
    names = {category["id"]: str(category["name"]) for category in results.annotations["categories"]}
    classes = tuple(names[category] for category in categories)
    at = 100 if 100 in max_detections else max_detections[-1]
    return MatchTable(
        tuple(map(str, ids)),
        tuple(classes[row.argmax()] if row.any() else "" for row in objects[0]),
        classes,
        np.asarray(IOUS, np.float64),
        table[:, 0].astype(np.int64),
        table[:, 1].astype(np.int64),
        table[:, 2].astype(np.int64),
        table[:, 3],
        np.concatenate([np.zeros(shape, bool), *matches], 2),
        np.concatenate([np.zeros(shape, bool), *ignored], 2),
        objects,
        (at, max_detections[-1]),
    )


def _entry(evaluation: Any, category: int, area: int, image: int, num_images: int) -> Any:
    return evaluation.evalImgs[(category * len(AREAS) + area) * num_images + image]
