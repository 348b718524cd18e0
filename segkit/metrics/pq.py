"""Panoptic quality.

Kirillov, He, Girshick, Rother and Dollar, Panoptic Segmentation, CVPR 2019, section 4,
https://arxiv.org/abs/1801.00868. K classes, n segments, H W image.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from segkit.dist import gather_objects
from segkit.metrics.base import Metric
from segkit.ops.instances.segments import segment_map
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, InstancePrediction

MOST_OF = 0.5
"""IoU above which two segments match, and share of void above which a segment without a match counts for nothing."""


class Matches(NamedTuple):
    """How the segments of one image, or of many, match.

    Attributes:
        pairs: (label, IoU) of each match.
        missed: label of each true segment without a match; crowds are not among them.
        wrong: label of each predicted segment without a match that counts.
    """

    pairs: list[tuple[int, float]]
    missed: list[int]
    wrong: list[int]


def match_segments(
    truth: np.ndarray, labels: Sequence[int], crowd: Sequence[bool], found: np.ndarray, found_labels: Sequence[int]
) -> Matches:
    """Matches the segments of an image.

    Two segments of one class match where their IoU is above 0.5, which at most one pair can have. Pixels without a true
    segment are no part of a union. Crowds match nothing. A predicted segment without a match that lies by more than
    half on pixels without a true segment, or on a crowd of its class, is not counted.

    Args:
        truth: int [H,W], number 1..n of the true segment at each pixel, 0 for none.
        labels: n classes.
        crowd: n marks.
        found: int [H,W], the same of the prediction with m segments.
        found_labels: m classes.

    Returns:
        The matches.
    """
    n, m = len(labels), len(found_labels)
    codes = truth.astype(np.int64) * (m + 1) + found
    common = np.bincount(codes.ravel(), minlength=(n + 1) * (m + 1)).reshape(n + 1, m + 1)
    areas, found_areas = common.sum(1), common.sum(0)
    kinds, found_kinds, crowds = np.array(labels, int), np.array(found_labels, int), np.array(crowd, bool)
    is_same = (kinds[:, None] == found_kinds) & ~crowds[:, None]
    unions = areas[1:, None] + found_areas[1:] - common[1:, 1:] - common[0, 1:]
    ious = np.where(is_same, common[1:, 1:], 0) / np.maximum(unions, 1)
    rows, columns = np.nonzero(ious > MOST_OF)
    pairs = [(int(kinds[i]), float(ious[i, j])) for i, j in zip(rows, columns)]
    is_missed = ~crowds
    is_missed[rows] = False
    # of several crowds of one class panopticapi takes the last; data sets have one
    last = {int(kinds[i]): i for i in np.flatnonzero(crowds)}
    wrong = []
    for j in np.setdiff1d(np.arange(m), columns):
        kind = int(found_kinds[j])
        uncounted = common[0, j + 1] + (common[last[kind] + 1, j + 1] if kind in last else 0)
        if not uncounted > MOST_OF * found_areas[j + 1]:
            wrong.append(kind)
    return Matches(pairs, kinds[is_missed].tolist(), wrong)


@METRICS.register
class PQ(Metric):
    """Panoptic quality, and the two it is the product of: segmentation quality SQ and recognition quality RQ.

    SQ of a class is the mean IoU of its matches, RQ their number divided by itself, half the missed and half the wrong
    segments; see match_segments. Means are those of the classes that occur. For the runner Panoptic and data sets that
    know which of their classes are things; the numbers are those of panopticapi.
    """

    main_score = "PQ"
    lower_is_better = ()

    def start(self, dataset: Any) -> None:
        """Reads which classes there are, and which are things.

        Raises:
            ConfigError: the data set does not know it.
        """
        if dataset.things is None:
            raise ConfigError(
                f"metrics: PQ scores panoptic data, and {type(dataset).__name__} does not know which of its classes "
                "are things; use a panoptic data set (COCOPanoptic), or another metric"
            )
        self.classes, self.things = tuple(dataset.classes), tuple(dataset.things)

    def reset(self) -> None:
        """Forgets all images."""
        self._matches = Matches([], [], [])

    def update(self, predictions: Sequence[InstancePrediction], batch: Batch) -> None:
        """Matches the segments of B images.

        Args:
            predictions: B with "masks" (RLE at original size) that do not overlap, and "labels".
            batch: the true "masks", "labels" and "crowd" of each image.

        Raises:
            ValueError: the masks of an image overlap.
        """
        for i, (prediction, meta) in enumerate(zip(predictions, batch["meta"], strict=True)):
            labels = torch.as_tensor(prediction["labels"]).tolist()
            name, size = str(meta["id"]), meta["size"]
            truth = segment_map(batch["masks"][i], size, f"{name}: its true segments")
            found = segment_map(prediction["masks"], size, f"{name}: its predicted segments")
            image = match_segments(truth, batch["labels"][i].tolist(), batch["crowd"][i].tolist(), found, labels)
            self._matches.pairs.extend(image.pairs)
            self._matches.missed.extend(image.missed)
            self._matches.wrong.extend(image.wrong)

    def compute(self) -> dict[str, Any]:
        """Computes the scores of all processes.

        Returns:
            PQ, SQ, RQ, the same of things and of stuff ("PQ_things", ...), and per_class {name: {"PQ", "SQ", "RQ"}}, in
            percent; None where no class occurs.
        """
        processes = gather_objects(self._matches)
        rows = []
        for label in range(len(self.classes)):
            ious = [iou for of_process in processes for kind, iou in of_process.pairs if kind == label]
            others = sum(of.missed.count(label) + of.wrong.count(label) for of in processes)
            rows.append(_scores(ious, others))
        result: dict[str, Any] = {}
        of_stuff = [not thing for thing in self.things]
        for suffix, kept in (("", [True] * len(rows)), ("_things", self.things), ("_stuff", of_stuff)):
            for name in ("PQ", "SQ", "RQ"):
                values = [row[name] for row, is_kept in zip(rows, kept) if is_kept]
                known = [value for value in values if value is not None]
                result[f"{name}{suffix}"] = math.fsum(known) / len(known) if known else None
        result["per_class"] = dict(zip(self.classes, rows))
        return result


def _scores(ious: Sequence[float], others: int) -> dict[str, float | None]:
    """Scores of a class in percent; others: number of segments without a match."""
    if not ious and not others:
        return {"PQ": None, "SQ": None, "RQ": None}
    # a correctly rounded sum is the same in any order, and so for any number of processes
    total, denominator = math.fsum(ious), len(ious) + others / 2
    quality = 100 * total / len(ious) if ious else 0.0
    return {"PQ": 100 * total / denominator, "SQ": quality, "RQ": 100 * len(ious) / denominator}
