"""Tables of scores, one row for each image, the worst first. K classes, H W image."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch

from segkit.metrics._pixel_pairs import PixelPairs, labelled_images
from segkit.metrics._rle_results import RleResults
from segkit.metrics._scores import class_scores, mean_of, percent
from segkit.metrics.base import AnnotatedSet, LabelledSet
from segkit.metrics.matched_mask_iou import hits
from segkit.metrics.noc import clicks_needed, threshold_name
from segkit.metrics.worst_images import multi_label_scores
from segkit.types import Batch

Row: TypeAlias = dict[str, Any]
"""Scores of an image by name: "id", "path", and numbers, in percent unless the name is a count; None for no score."""


class ImageScores:
    """Scores the predictions of single images.

    Attributes:
        worst_first: columns that order the images, the worst first; with "-" before the name the largest value is the
            worst, else the smallest.
    """

    worst_first: tuple[str, ...]

    def rows(self, predictions: Sequence[Any], batch: Batch) -> list[Row]:
        """Returns a row of scores for each image of a batch, every one with the same columns."""
        raise NotImplementedError(f"{type(self).__name__} gives no rows()")


def in_order(rows: Sequence[Row], worst_first: Sequence[str]) -> list[Row]:
    """Sorts rows, the worst first; rows without a score come last, equal ones by their ids."""

    def key(row: Row) -> tuple:
        values: list = []
        for column in worst_first:
            value = row[column.removeprefix("-")]
            values += [value is None, 0.0 if value is None else -value if column.startswith("-") else value]
        return (*values, str(row["id"]))

    return sorted(rows, key=key)


class LabelMapScores(ImageScores):
    """IoU of the classes of an image, their mean and the pixel accuracy, from label maps.

    A class that neither truth nor prediction has in the image has no IoU there and is not in the mean; a class of the
    prediction alone counts with 0.

    Args:
        dataset: gives classes and the ignore value.
    """

    worst_first = ("mIoU", "aAcc")

    def __init__(self, dataset: LabelledSet):
        self.classes = tuple(dataset.classes)
        self._pairs = PixelPairs(len(self.classes), dataset.ignore)

    def rows(self, predictions: Sequence[Any], batch: Batch) -> list[Row]:
        """Returns id, path, mIoU, aAcc and "IoU CLASS" of each image."""
        result = []
        for (counts, image), path in zip(self._pairs.of_batch(predictions, batch), _paths(batch)):
            matrix = counts.cpu().numpy()
            iou, pixels = class_scores(matrix)["IoU"], int(matrix.sum())
            row: Row = {"id": image, "path": path, "mIoU": percent(mean_of(iou))}
            row["aAcc"] = percent(np.trace(matrix) / pixels) if pixels else None
            result.append(row | _of_classes(iou, self.classes))
        self._pairs.check()
        return result


class OverlappingScores(ImageScores):
    """IoU of the mask of each class of an image, and their mean; classes without any pixel are left out.

    Args:
        dataset: gives classes and the ignore value.
    """

    worst_first = ("mIoU",)

    def __init__(self, dataset: LabelledSet):
        self.classes, self.ignore = tuple(dataset.classes), dataset.ignore

    def rows(self, predictions: Sequence[Any], batch: Batch) -> list[Row]:
        """Returns id, path, mIoU and "IoU CLASS" of each image."""
        result = []
        for (prediction, truth, image), path in zip(labelled_images(predictions, batch), _paths(batch)):
            scores = multi_label_scores(prediction["positive"], truth, self.ignore)
            row: Row = {"id": image, "path": path, "mIoU": scores.miou}
            result.append(row | _of_classes(scores.ious / 100, self.classes))
        return result


class ClickScores(ImageScores):
    """Clicks that each object needed, and its IoU after the last one.

    Args:
        limit: clicks that count where an IoU is not reached.
        thresholds: IoUs in 0..1.
    """

    worst_first = ("-NoC@90", "IoU")

    def __init__(self, limit: int, thresholds: Sequence[float] = (0.80, 0.85, 0.90)):
        self.limit, self.thresholds = limit, tuple(thresholds)

    def rows(self, predictions: Sequence[Any], batch: Batch) -> list[Row]:
        """Returns id, path, "NoC@80", "NoC@85", "NoC@90", clicks and IoU of each object."""
        result = []
        for prediction, meta, path in zip(predictions, batch["meta"], _paths(batch), strict=True):
            ious = torch.as_tensor(prediction["ious"]).cpu().numpy()
            row: Row = {"id": str(meta["id"]), "path": path}
            for threshold in self.thresholds:
                row[f"NoC@{threshold_name(threshold)}"] = int(clicks_needed([ious], threshold, self.limit)[0])
            last = float(ious[-1]) if len(ious) else float("nan")
            row |= {"clicks": len(ious), "IoU": percent(last)}
            result.append(row)
        return result


class InstanceScores(ImageScores):
    """Objects of an image that are found, missed, and found where there is none.

    Detections, best first, each take the free object of their class whose box overlaps theirs most, as of the metric
    MatchedMaskIoU. "quality" is the sum of the IoUs of matched masks over the objects and the spurious detections.
    Crowds are left out: a detection on one is spurious.

    Args:
        dataset: gives annotations in COCO form.
        score: least score of a detection that counts.
        box_iou: least IoU of the boxes of a detection and its object.
    """

    worst_first = ("quality",)

    def __init__(self, dataset: AnnotatedSet, score: float = 0.3, box_iou: float = 0.5):
        self.score, self.box_iou = score, box_iou
        self._results = RleResults(dataset.annotations)
        self._truth: dict[str, list[dict]] = {}
        for entry in dataset.annotations["annotations"]:
            if not entry.get("iscrowd"):
                self._truth.setdefault(str(entry["image_id"]), []).append(entry)

    def rows(self, predictions: Sequence[Any], batch: Batch) -> list[Row]:
        """Returns id, path, quality, mask_IoU of the matched ones, objects, matched, missed and spurious of each."""
        result = []
        for prediction, meta, path in zip(predictions, batch["meta"], _paths(batch), strict=True):
            image = str(meta["id"])
            self._results.forget()
            self._results.add([prediction], Batch(meta=[meta]))
            found = [entry for entry in self._results.of_this_process() if entry["score"] >= self.score]
            known, ious = self._truth.get(image, []), np.zeros(0)
            for category in sorted({entry["category_id"] for entry in known}):
                same = [[e for e in entries if e["category_id"] == category] for entries in (known, found)]
                ious = np.append(ious, hits(same[0], same[1], meta["size"], least=self.box_iou)[:, 0])
            missed, spurious = len(known) - len(ious), len(found) - len(ious)
            total = len(known) + spurious
            row: Row = {"id": image, "path": path, "quality": percent(ious.sum() / total) if total else None}
            row["mask_IoU"] = percent(ious.mean()) if len(ious) else None
            row |= {"objects": len(known), "matched": len(ious), "missed": missed, "spurious": spurious}
            result.append(row)
        return result


def _paths(batch: Batch) -> list[str]:
    return [str(meta.get("path", "")) for meta in batch["meta"]]


def _of_classes(iou: np.ndarray, classes: Sequence[str]) -> Row:
    return {f"IoU {name}": percent(value) for name, value in zip(classes, iou)}
