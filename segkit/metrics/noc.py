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

SMALL = 1e-9
"""Added to denominators."""

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

    def __init__(
        self, thresholds: Sequence[Fraction] = (0.80, 0.85, 0.90, 0.95), limits: Sequence[PositiveInt] = (20,)
    ):
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
                "seconds" (of all clicks); on request "boundary_ious" float32 [n], and "image_seconds" and
                "first_seconds", what of the time went into the image and the first click.
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
            ious = _numbers(prediction["ious"])
            if len(clicks) != len(ious):
                raise ValueError(f"{meta['id']}: {len(clicks)} clicks with {len(ious)} IoUs; must be one IoU per click")
            item = dict(id=str(meta["id"]), clicks=clicks, ious=ious, seconds=float(prediction["seconds"]))
            if "first_seconds" in prediction and "image_seconds" in prediction:
                item["image_seconds"] = float(prediction["image_seconds"])
                item["first_seconds"] = float(prediction["first_seconds"])
                item["device"] = prediction.get("device", "")
            for key in ("boundary_ious", "user_ious"):
                if key in prediction:
                    item[key] = _numbers(prediction[key])
            self._items.append(item)

    def compute(self) -> dict:
        """Computes the scores of the objects of all processes, ordered by their ids; see noc_scores."""
        items = [item for of_process in gather_objects(self._items) for item in of_process]
        return noc_scores(sorted(items, key=lambda item: item["id"]), self.thresholds, self.limits)


def _numbers(values: np.ndarray | torch.Tensor) -> list[float | None]:
    """Numbers for JSON, None for NaN."""
    return [None if value != value else value for value in torch.as_tensor(values).tolist()]


def noc_scores(items: Sequence[dict], thresholds: Sequence[float], limits: Sequence[int]) -> dict:
    """Computes the scores of clicked objects.

    Args:
        items: dictionaries of id, clicks [[y, x, is_positive], ...], ious [0..1, ...] and seconds.
        thresholds: IoUs in 0..1.
        limits: click counts N.

    Returns:
        A dictionary for JSON, with None where there is nothing to average: "NoC@<t>" at the first limit and "mIoU@<k>"
        in percent; "5-mIoU", the mean IoU after five clicks as others publish it, None where an object ended before;
        "seconds_per_click", and "seconds" and "clicks" in all; where the time is split, "seconds_set_image", the mean
        for an image before its first click, "seconds_further_click", that of each click after the first, and "device";
        "boundary@k", where boundary IoUs are measured, their means in percent as in mean_curve; "user@1", where users'
        first clicks are answered, user_spread with the number of their "objects" and the mean IoU after the first click
        of the simulation on these, "base"; "limits", for each N the "NoC" of each
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
    shortest = shortest_curve(curves)
    result |= {f"mIoU@{k}": held[k - 1] for k in sorted({*SHOWN_CLICKS, limits[0]}) if k <= len(held)}
    result["5-mIoU"] = shortest[4] if len(shortest) > 4 else None
    result |= dict(seconds_per_click=seconds / clicks if clicks else None, seconds=seconds, clicks=clicks)
    result |= _split_seconds(items)
    result["limits"] = per_limit
    result["mIoU@k"] = dict(held=held, shortest=shortest)
    if items and all("boundary_ious" in item for item in items):
        bands = [curve_of({"ious": item["boundary_ious"]}) for item in items]
        result["boundary@k"] = mean_curve(bands, max(limits))
    clicked = [item for item in items if item.get("user_ious")]
    if clicked:
        result["user@1"] = user_spread([curve_of({"ious": item["user_ious"]}) for item in clicked])
        firsts = [curve[0] for item, curve in zip(items, curves) if item.get("user_ious") and len(curve)]
        result["user@1"] |= {"objects": len(clicked), "base": percent(exact_mean(np.array(firsts, np.float64)))}
    result["items"] = list(items)
    return result


def user_spread(ious: Sequence[np.ndarray]) -> dict[str, float]:
    """Summarizes the IoUs after the first clicks of several users on each object, in percent.

    Args:
        ious: float [users] in 0..1 of each object, each after the first click of one user alone.

    Returns:
        "IoU", "std" and "NSR" (deviation over mean): of each object, then the mean over objects.
    """
    means, deviations = np.array([np.mean(one) for one in ious]), np.array([np.std(one) for one in ious])
    return {
        "IoU": float(100 * means.mean()),
        "std": float(100 * deviations.mean()),
        "NSR": float(100 * (deviations / (means + SMALL)).mean()),
    }


def _split_seconds(items: Sequence[dict]) -> dict[str, float | str | None]:
    """Mean seconds of an image before its first click, and of a click after it; {} where they are not measured."""
    if not items or not all("first_seconds" in item for item in items):
        return {}
    further = sum(max(len(item["ious"]) - 1, 0) for item in items)
    rest = sum(item["seconds"] - item["first_seconds"] for item in items)
    images = sum(item["image_seconds"] for item in items)
    return dict(
        seconds_set_image=images / len(items),
        seconds_further_click=rest / further if further else None,
        device=", ".join(sorted({item.get("device", "") for item in items})),
    )


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
