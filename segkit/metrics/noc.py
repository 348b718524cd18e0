"""Clicks that interactive segmentation needs: NoC, mIoU after k clicks, seconds per click.

As Sofiiuk et al., 2021, https://arxiv.org/abs/2102.06583, section 4 and their published code count them.
"""

from collections.abc import Sequence

import numpy as np
import torch

from segkit.dist import gather_objects
from segkit.metrics._reductions import exact_mean
from segkit.metrics._scores import percent
from segkit.registry import METRICS, ConfigError
from segkit.types import Batch, Prediction

SHOWN_CLICKS = (1, 5)
"""Click counts k whose mIoU@k stands beside the NoC, with that of the first limit."""


def clicks_needed(curves: Sequence[np.ndarray], threshold: float, limit: int) -> np.ndarray:
    """curves: IoU float32 [n] after each click of each object -> int64 [objects]: the first click whose IoU is at least
    the threshold, counted from 1, wherever it stands; `limit` where there is none.

    Both sides are compared as float32, as the published numbers are: an IoU of .9 stored so reaches .90.
    """
    needed = np.full(len(curves), limit, np.int64)
    for i, ious in enumerate(curves):
        hits = np.flatnonzero(np.asarray(ious, np.float32) >= np.float32(threshold))
        if len(hits):
            needed[i] = hits[0] + 1
    return needed


def mean_curve(curves: Sequence[np.ndarray], length: int) -> list[float | None]:
    """mIoU@k in percent for k = 1..length; an object that needed fewer clicks keeps its last IoU. Objects without any
    IoU and IoUs that are no number (neither truth nor prediction) are left out; None where nothing is left."""
    held = np.full((len(curves), length), np.nan)
    for i, ious in enumerate(curves):
        if len(ious):
            held[i] = np.asarray(ious, np.float64)[np.minimum(np.arange(length), len(ious) - 1)]
    return [percent(exact_mean(held[:, k])) for k in range(length)]


def shortest_curve(curves: Sequence[np.ndarray]) -> list[float | None]:
    """mIoU@k in percent over the clicks that every object got: the published rule, of use where none stops early."""
    return mean_curve(curves, min(map(len, curves))) if len(curves) else []


def threshold_name(threshold: float) -> str:
    """.85 -> "85", .925 -> "92.5"."""
    return f"{round(100 * threshold, 6):g}"


def curve_of(item: dict) -> np.ndarray:
    """An item of NoC's result -> its IoUs float32 [n], NaN where they are null."""
    return np.array([np.nan if value is None else value for value in item["ious"]], np.float32)


@METRICS.register
class NoC:
    """Number of clicks until a threshold of IoU is reached, at most `limit` of them, averaged over objects.

    thresholds: IoUs in 0..1; limits: click counts N, each scored on the first N clicks alone, so that one run of 100
    clicks gives NoC20 and NoC100; the first names the short keys ("NoC@90").
    update takes predictions with "clicks" float [n,3] (y, x, is_positive), "ious" float32 [n], one per click, and
    "seconds" (of all clicks); batch["meta"] gives the ids, one of its own per object.
    """

    def __init__(self, thresholds: Sequence[float] = (0.80, 0.85, 0.90), limits: Sequence[int] = (20,)):
        if not thresholds or not all(0 < threshold <= 1 for threshold in thresholds):
            raise ConfigError(f"NoC.thresholds = {thresholds!r}: IoUs above 0 and up to 1, such as (.80, .85, .90)")
        if not limits or not all(isinstance(limit, int) and limit > 0 for limit in limits):
            raise ConfigError(f"NoC.limits = {limits!r}: whole numbers of clicks from 1, such as (20, 100)")
        self.thresholds, self.limits = tuple(thresholds), tuple(limits)
        self.reset()

    def start(self, dataset) -> None:
        """Nothing of the data set is needed."""
        self.reset()

    def reset(self) -> None:
        """Forgets all objects."""
        self._items: list[dict] = []

    def update(self, prediction: Sequence[Prediction], batch: Batch) -> None:
        """Keeps clicks and IoUs of B objects, a few hundred bytes each."""
        for one, meta in zip(prediction, batch["meta"], strict=True):
            missing = [key for key in ("clicks", "ious", "seconds") if key not in one]
            if missing:
                raise ConfigError(
                    f"metrics: NoC counts clicks, and the predictions hold no '{missing[0]}'; it goes with "
                    "runner = dict(type='Interactive'), others use Confusion"
                )
            clicks = [[y, x, positive > 0.5] for y, x, positive in torch.as_tensor(one["clicks"]).tolist()]
            ious = [None if iou != iou else iou for iou in torch.as_tensor(one["ious"]).tolist()]
            if len(clicks) != len(ious):
                raise ValueError(f"{meta['id']}: {len(clicks)} clicks with {len(ious)} IoUs; give one IoU per click")
            self._items.append(dict(id=str(meta["id"]), clicks=clicks, ious=ious, seconds=float(one["seconds"])))

    def compute(self) -> dict:
        """-> see noc_scores; the objects of all processes, by their ids."""
        items = [one for part in gather_objects(self._items) for one in part]
        return noc_scores(sorted(items, key=lambda one: one["id"]), self.thresholds, self.limits)


def noc_scores(items: Sequence[dict], thresholds: Sequence[float], limits: Sequence[int]) -> dict:
    """items: dicts of id, clicks [[y, x, is_positive], ...], ious [0..1, ...], seconds -> ready for JSON:

    "NoC@<t>" at the first limit and "mIoU@<k>" in percent; "seconds_per_click", "seconds" and "clicks" in all;
    "limits": {N: see _at_limit}; "mIoU@k": {"held": see mean_curve, "shortest": see shortest_curve}, k = 1, 2, ...;
    "items": the objects themselves. null where there is nothing to average.
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
    """-> for each threshold (in percent, as text): "NoC", the mean of clicks_needed over the first `limit` clicks;
    ">=N", how many objects count as N there, also those that succeed exactly at click N (the published count);
    "not_reached", how many stay below it; "ended_early", how many of these were given fewer than N clicks, whose true
    number is unknown and counts as N."""
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
