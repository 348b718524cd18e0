"""Searches thresholds and least areas of overlapping classes on labelled images, one class at a time.

K classes, A areas, C component sizes, T thresholds, H W image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import cv2
import numpy as np
import torch

from segkit import dist
from segkit.data.loader import to_device
from segkit.engine.setup import Evaluation
from segkit.engine.workers import explaining_workers
from segkit.metrics.mask_scores import MaskScore, counts_of
from segkit.models.bases import Network
from segkit.registry import ConfigError
from segkit.runners.mask_decision import MaskDecision
from segkit.runners.multi_label import MultiLabel
from segkit.types import MultiLabelPrediction


@dataclass(frozen=True)
class Grid:
    """The values that are tried, each list in rising order.

    Args:
        thresholds: of both thresholds; the top one is never the lower one.
        areas: least numbers of sure pixels.
        components: least numbers of pixels of a connected part.
    """

    thresholds: tuple[float, ...]
    areas: tuple[int, ...] = (0,)
    components: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        for name, values in vars(self).items():
            if not values or list(values) != sorted(set(values)) or values[0] < 0:
                raise ConfigError(f"--{name} {' '.join(map(str, values))}: must be numbers of 0 or more, rising")
        if self.thresholds[-1] > 1:
            raise ConfigError(f"--thresholds {self.thresholds[-1]}: must be 1 or less")


class Found(NamedTuple):
    """The best decision of each class.

    Attributes:
        decision: K numbers of each kind.
        scores: mean score of each class with it, float64 [K] in 0..1.
        before: the same with the decision that the runner has.
    """

    decision: MaskDecision
    scores: np.ndarray
    before: np.ndarray


@torch.inference_mode()
def search(
    model: Network,
    runner: MultiLabel,
    data: Evaluation,
    metric: MaskScore,
    grid: Grid,
    tick: Callable[[int], object] = lambda count: None,
) -> Found:
    """Tries every decision of a grid on each class. Only sums of scores are kept, whatever the number of images.

    Of equally good ones that with the least area, then the least components, then the lowest thresholds is taken.

    Args:
        model: in evaluation mode.
        runner: gives the probabilities.
        data: labelled images; each process takes its share.
        metric: whose mean score is to be highest.
        grid: what is tried.
        tick: called with the number of images done.

    Raises:
        ConfigError: an image has no labels.
    """
    num_classes = len(data.dataset.classes)
    shape = (num_classes, len(grid.areas), len(grid.components), len(grid.thresholds), len(grid.thresholds))
    total, before, images = np.zeros(shape), np.zeros(num_classes), 0
    with explaining_workers(data.at, data.loader.num_workers, data.loader.timeout):
        for batch in data.loader:
            if "mask" not in batch:
                raise ConfigError(f"{data.at}: has no labels to search thresholds on; choose a labelled split")
            batch = to_device(batch, model.mean.device)
            for prediction, truth, meta in zip(runner.predict(model, batch), batch["mask"], batch["meta"]):
                found = cast(MultiLabelPrediction, prediction)
                counts = counts_of(found["positive"], truth, data.dataset.ignore, str(meta["id"]))
                before += metric.score(*counts)
                arrays = (found["probabilities"].cpu().numpy(), truth.cpu().numpy())
                for k, (probabilities, labels) in enumerate(zip(*arrays)):
                    total[k] += _scores(probabilities, labels, data.dataset.ignore, metric, grid)
                images += 1
            tick(len(batch["meta"]))
    total, before = (dist.all_reduce_sum(torch.from_numpy(sums)).numpy() for sums in (total, before))
    images = int(dist.all_reduce_sum(torch.tensor(images)))
    # a top threshold below the lower one is the same decision again
    low, top = np.indices(shape[3:])
    total[..., top < low] = -1
    best = [np.unravel_index(int(np.argmax(scores)), shape[1:]) for scores in total]
    decision = MaskDecision(
        threshold=[grid.thresholds[b[2]] for b in best],
        top_threshold=[grid.thresholds[b[3]] for b in best],
        min_area=[grid.areas[b[0]] for b in best],
        min_component=[grid.components[b[1]] for b in best],
    )
    return Found(decision, total.reshape(num_classes, -1).max(1) / images, before / images)


def _scores(probabilities: np.ndarray, labels: np.ndarray, ignore: int, metric: MaskScore, grid: Grid) -> np.ndarray:
    """Score of one mask by each decision, float64 [A,C,T low,T top]; probabilities, labels: [H,W]."""
    is_valid, is_true = labels != ignore, labels == 1
    true = int(is_true.sum())
    shape = (len(grid.thresholds), len(grid.components))
    overlap, predicted = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for t, threshold in enumerate(grid.thresholds):
        is_above = probabilities > np.float32(threshold)
        overlap[t], predicted[t] = _by_components(is_above, is_true, is_valid, grid.components)
    drawn = metric.score(overlap, predicted, np.full(shape, true))  # [T,C]
    empty = metric.score(*(np.array([value]) for value in (0, 0, true)))[0]
    sure = np.array([(probabilities > np.float32(threshold)).sum() for threshold in grid.thresholds])
    is_drawn = sure[None] >= np.maximum(grid.areas, 1)[:, None]  # [A,T top]
    return np.where(is_drawn[:, None, None, :], drawn.T[None, :, :, None], empty)


def _by_components(
    mask: np.ndarray, is_true: np.ndarray, is_valid: np.ndarray, smallest: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Overlap and predicted pixels of a mask [H,W] without its smaller parts, int64 [C] each."""
    overlap, predicted = mask & is_true, mask & is_valid
    if max(smallest) <= 1:
        return np.full(len(smallest), overlap.sum()), np.full(len(smallest), predicted.sum())
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    sums = [np.bincount(parts[pixels], minlength=count)[1:] for pixels in (overlap, predicted)]
    is_kept = stats[1:, cv2.CC_STAT_AREA] >= np.array(smallest)[:, None]
    return (is_kept * sums[0]).sum(1), (is_kept * sums[1]).sum(1)
