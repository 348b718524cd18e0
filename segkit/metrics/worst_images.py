"""Scores and errors of one image, for pictures of the worst. K classes, H W image, n objects, m detections."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from segkit.metrics._pixel_pairs import PixelPairs
from segkit.metrics._reductions import counts_of_matrix, exact_mean, scores_of_counts
from segkit.metrics._scores import percent
from segkit.types import RLE


class MapScores(NamedTuple):
    """Scores of the label map of one image, in percent.

    Attributes:
        miou: mean IoU of the classes that truth or prediction has; None where no pixel is scored.
        accuracy: share of right pixels; None where no pixel is scored.
        pixels: number of scored pixels.
        ious: float64 [K], NaN for classes that neither truth nor prediction has.
    """

    miou: float | None
    accuracy: float | None
    pixels: int
    ious: np.ndarray


class InstanceCounts(NamedTuple):
    """How the instances of one image were found.

    Attributes:
        f1: 2 hits / (2 hits + missed + wrong) in percent; None where there is neither an object nor a detection.
        hits: objects that a detection matches.
        missed: objects without one.
        wrong: detections without an object.
        is_missed: bool [n], of each object.
        is_wrong: bool [m], of each detection.
    """

    f1: float | None
    hits: int
    missed: int
    wrong: int
    is_missed: np.ndarray
    is_wrong: np.ndarray


def semantic_scores(
    prediction: Tensor | np.ndarray, target: Tensor | np.ndarray, num_classes: int, ignore: int | None = 255
) -> MapScores:
    """Scores a label map.

    Args:
        prediction: integers [H,W] in 0..K-1.
        target: integers [H,W] in 0..K-1, or `ignore`.
        num_classes: K.
        ignore: value of the target whose pixels are not scored; None for none.

    Raises:
        ValueError: the sizes differ, or a value is no class.
    """
    pairs = PixelPairs(num_classes, ignore)
    matrix = pairs.of_image(prediction, target, "the image").cpu().numpy()
    pairs.check()
    pixels = int(matrix.sum())
    right = float(np.trace(matrix) / pixels) if pixels else np.nan
    return _scores(counts_of_matrix(matrix), right, pixels)


def multi_label_scores(
    positive: Tensor | np.ndarray, target: Tensor | np.ndarray, ignore: int | None = 255
) -> MapScores:
    """Scores masks that may overlap; `pixels` counts each class by itself.

    Args:
        positive: bool or 0 and 1, [K,H,W].
        target: 0, 1 or `ignore`, [K,H,W].
        ignore: value of the target whose pixels are not scored; None for none.

    Raises:
        ValueError: the sizes differ.
    """
    found, truth = torch.as_tensor(positive).bool().cpu().numpy(), torch.as_tensor(target).cpu().numpy()
    if found.shape != truth.shape:
        raise ValueError(f"masks of {found.shape}, the truth of {truth.shape}; must be of the same size")
    true, valid = truth == 1, np.ones(truth.shape, bool) if ignore is None else truth != ignore
    cells = (found & true, found & ~true, ~found & true, ~found & ~true)
    counts = np.stack([(cell & valid).sum((1, 2)) for cell in cells])
    pixels = int(counts.sum())
    return _scores(counts, float((counts[0] + counts[3]).sum() / pixels) if pixels else np.nan, pixels)


def instance_counts(
    masks: Sequence[RLE],
    labels: Sequence[int],
    true_masks: Sequence[RLE],
    true_labels: Sequence[int],
    *,
    crowd: Sequence[bool] = (),
    least: float = 0.5,
) -> InstanceCounts:
    """Matches the detections of one image with its objects, class by class.

    In their order, the best score first, each takes the free object whose mask overlaps its own most. Detections
    that lie in a crowd are neither right nor wrong, and crowds are not missed.

    Args:
        masks: m run-length codes, those below the least score left out.
        labels: m indices of classes.
        true_masks: n run-length codes.
        true_labels: n indices of classes.
        crowd: n, whether an object is a crowd; () for none.
        least: least IoU of the masks of a hit; of a crowd the least share of the detection that lies in it.
    """
    from pycocotools import mask as coco_mask

    is_crowd = np.array([*crowd] or [False] * len(true_masks), bool)
    is_wrong, is_missed = np.ones(len(masks), bool), ~is_crowd
    if len(masks) and len(true_masks):
        ious = np.asarray(coco_mask.iou([*masks], [*true_masks], is_crowd.astype(np.uint8).tolist()))
        ious = np.where(np.equal.outer(np.asarray(labels), np.asarray(true_labels)) & (ious >= least), ious, 0.0)
        for k, row in enumerate(ious):
            free = np.where(is_missed, row, 0.0)
            if free.any():
                is_missed[free.argmax()] = is_wrong[k] = False
            elif row[is_crowd].any():
                is_wrong[k] = False
    missed, wrong = int(is_missed.sum()), int(is_wrong.sum())
    hits = int((~is_crowd).sum()) - missed
    total = 2 * hits + missed + wrong
    return InstanceCounts(200 * hits / total if total else None, hits, missed, wrong, is_missed, is_wrong)


def _scores(counts: np.ndarray, accuracy: float, pixels: int) -> MapScores:
    """counts: int64 [4,K]; accuracy: in 0..1."""
    ious = scores_of_counts(counts)["IoU"]
    return MapScores(percent(exact_mean(ious)), percent(accuracy), pixels, 100 * ious)
