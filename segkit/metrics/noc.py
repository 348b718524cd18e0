"""Number of clicks (NoC), mIoU after k clicks and seconds per click of interactive segmentation.

Counted as in Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583, section 4, and their published code.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from segkit.constraints.named import Fraction, PositiveInt
from segkit.dist import gather_objects
from segkit.metrics._reductions import exact_mean
from segkit.metrics._scores import percent
from segkit.metrics.base import Metric
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, ClickPrediction

SHOWN_CLICKS = (1, 5)
"""Click counts k whose mIoU@k is shown beside the NoC, with that of the first limit."""


def clicks_needed(curves: Sequence[np.ndarray], threshold: float, limit: int) -> np.ndarray:
    """Finds the first click of each object whose IoU reaches a threshold.

    Both sides are compared as float32, as the published numbers are: an IoU of .9 stored in float32 reaches .90.

    Args:
        curves: IoU float32 [n] after each click of each object.
        threshold: IoU in 0..1.
        limit: result where no click reaches the threshold.

    Returns:
        int64 [objects], counted from 1.
    """
    needed = np.full(len(curves), limit, np.int64)
    for i, ious in enumerate(curves):
        hits = np.flatnonzero(np.asarray(ious, np.float32) >= np.float32(threshold))
        if len(hits):
            needed[i] = hits[0] + 1
    return needed


def mean_curve(curves: Sequence[np.ndarray], length: int) -> list[float | None]:
    """Computes mIoU@k in percent for k = 1..length; an object that needed fewer clicks keeps its last IoU.

    Objects without any IoU, and IoUs of NaN (neither truth nor prediction), are left out; None where nothing is left.

    Args:
        curves: IoU float32 [n] after each click of each object.
        length: largest k.
    """
    held = np.full((len(curves), length), np.nan)
    for i, ious in enumerate(curves):
        if len(ious):
            held[i] = np.asarray(ious, np.float64)[np.minimum(np.arange(length), len(ious) - 1)]
    return [percent(exact_mean(held[:, k])) for k in range(length)]


def shortest_curve(curves: Sequence[np.ndarray]) -> list[float | None]:
    """Returns mIoU@k in percent over the clicks that every object got: the published rule, if no object stops early."""
    return mean_curve(curves, min(map(len, curves))) if len(curves) else []


def threshold_name(threshold: float) -> str:
    """Returns a threshold in percent as text: "85" for .85, "92.5" for .925."""
    return f"{round(100 * threshold, 6):g}"


def curve_of(item: dict) -> np.ndarray:
    """Returns the IoUs of an item of NoC's result, float32 [n], NaN where they are None."""
    return np.array([np.nan if value is None else value for value in item["ious"]], np.float32)


@METRICS.register
class NoC(Metric):
    """Number of clicks until an IoU is reached, at most `limit`, averaged over objects.

    Args:
        thresholds: IoUs in 0..1.
        limits: click counts N, each scored on the first N clicks alone, so that one run of 100 clicks gives NoC20 and
            NoC100; the first one names the short keys ("NoC@90").

    Raises:
        ConfigError: a threshold or limit is out of range.
    """

    lower_is_better = ("NoC@*", "seconds*", "clicks", "limits.*")

    def __init__(self, thresholds: Sequence[Fraction] = (0.80, 0.85, 0.90), limits: Sequence[PositiveInt] = (20,)):
        if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
            raise ConfigError(
                f"NoC.thresholds = {thresholds!r}: must be IoUs above 0 and up to 1, such as (.80, .85, .90)"
            )
        if not limits or not all(isinstance(limit, int) and limit > 0 for limit in limits):
            raise ConfigError(f"NoC.limits = {limits!r}: must be whole numbers of clicks from 1, such as (20, 100)")
        self.thresholds, self.limits = tuple(thresholds), tuple(limits)
        self.main_score = f"NoC@{threshold_name(0.9 if 0.9 in self.thresholds else self.thresholds[-1])}"
        self.reset()

    def start(self, dataset: Any) -> None:
        """Forgets all objects; nothing of the data set is needed."""
        self.reset()

    def reset(self) -> None:
        """Forgets all objects."""
        self._items: list[dict] = []

    def update(self, predictions: Sequence[ClickPrediction], batch: Batch) -> None:
        """Keeps clicks and IoUs of B objects, a few hundred bytes each.

        Args:
            predictions: B with "clicks" float [n,3] (y, x, is_positive), "ious" float32 [n], one per click, and
                "seconds" (of all clicks).
            batch: "meta" holds the ids, a different one for each object.

        Raises:
            ConfigError: the predictions are not those of clicks.
            ValueError: there is not one IoU for each click.
        """
        for prediction, meta in zip(predictions, batch["meta"], strict=True):
            missing = [key for key in ("clicks", "ious", "seconds") if key not in prediction]
            if missing:
                raise ConfigError(
                    f"metrics: NoC counts clicks, and the predictions have no '{missing[0]}'; it needs "
                    "runner = dict(type='Interactive'), other runners use Confusion"
                )
            clicks = [[y, x, positive > 0.5] for y, x, positive in torch.as_tensor(prediction["clicks"]).tolist()]
            ious = [None if iou != iou else iou for iou in torch.as_tensor(prediction["ious"]).tolist()]
            if len(clicks) != len(ious):
                raise ValueError(f"{meta['id']}: {len(clicks)} clicks with {len(ious)} IoUs; must be one IoU per click")
            seconds = float(prediction["seconds"])
            self._items.append(dict(id=str(meta["id"]), clicks=clicks, ious=ious, seconds=seconds))

    def compute(self) -> dict:
        """Computes the scores of the objects of all processes, ordered by their ids; see noc_scores."""
        items = [item for of_process in gather_objects(self._items) for item in of_process]
        return noc_scores(sorted(items, key=lambda item: item["id"]), self.thresholds, self.limits)


def noc_scores(items: Sequence[dict], thresholds: Sequence[float], limits: Sequence[int]) -> dict:
    """Computes the scores of clicked objects.

    Args:
        items: dictionaries of id, clicks [[y, x, is_positive], ...], ious [0..1, ...] and seconds.
        thresholds: IoUs in 0..1.
        limits: click counts N.

    Returns:
        A dictionary for JSON, with None where there is nothing to average: "NoC@<t>" at the first limit and "mIoU@<k>"
        in percent; "seconds_per_click", and "seconds" and "clicks" in all; "limits", for each N the "NoC" of each
        threshold (in percent, as text), ">=N", the objects that count as N there, including those that succeed exactly
        at click N (the published count), "not_reached", those that stay below it, and "ended_early", those of them with
        fewer than N clicks, whose true number is unknown and counts as N; "mIoU@k" for k = 1, 2, ...: "held" of
        mean_curve and "shortest" of shortest_curve; "items": the objects themselves.
    """
    curves = [curve_of(item) for item in items]
    per_limit = {str(limit): _at_limit(curves, thresholds, limit) for limit in limits}
    held = mean_curve(curves, max(limits))
    clicks, seconds = sum(map(len, curves)), float(np.sum([item["seconds"] for item in items]))
    result: dict = {f"NoC@{name}": value for name, value in per_limit[str(limits[0])]["NoC"].items()}
    result |= {f"mIoU@{k}": held[k - 1] for k in sorted({*SHOWN_CLICKS, limits[0]}) if k <= len(held)}
    result |= dict(seconds_per_click=seconds / clicks if clicks else None, seconds=seconds, clicks=clicks)
    result["limits"] = per_limit
    result["mIoU@k"] = dict(held=held, shortest=shortest_curve(curves))
    result["items"] = list(items)
    return result


def _at_limit(curves: Sequence[np.ndarray], thresholds: Sequence[float], limit: int) -> dict:
    """An entry of "limits" of noc_scores: "NoC" is the mean of clicks_needed over the first `limit` clicks."""
    cut = [curve[:limit] for curve in curves]
    result: dict = {"NoC": {}, f">={limit}": {}, "not_reached": {}, "ended_early": {}}
    for threshold in thresholds:
        name = threshold_name(threshold)
        needed = clicks_needed(cut, threshold, limit)
        # one more than the limit tells a failure from a success at the last click
        failed = clicks_needed(cut, threshold, limit + 1) > limit
        result["NoC"][name] = float(needed.sum() / len(needed)) if len(needed) else None
        result[f">={limit}"][name] = int((needed == limit).sum())
        result["not_reached"][name] = int(failed.sum())
        result["ended_early"][name] = sum(bool(fails) and len(ious) < limit for fails, ious in zip(failed, cut))
    return result
