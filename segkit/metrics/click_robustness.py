"""How much scores depend on where users click: ideal clicks against groups of likelier and unlikelier ones.

RClicks, Antonov et al., NeurIPS 2024, https://arxiv.org/abs/2410.11722, section 6. N clicks, g groups.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from segkit.metrics.noc import clicks_needed

SMALL = 1e-9
"""Added to denominators."""


def click_robustness(
    base: Sequence[np.ndarray], groups: Sequence[Sequence[np.ndarray]], *, threshold: float = 0.9, limit: int = 20
) -> dict[str, Any]:
    """Compares runs with ideal clicks and with the clicks of each group, on the same objects in the same order.

    Args:
        base: IoUs float [n] after each ideal click of each object. An object that has fewer clicks keeps its last IoU.
        groups: the same for each group, the least likely clicks first; an even number of groups.
        threshold: IoU in 0..1 that NoC and NoF are counted at.
        limit: N.

    Returns:
        "NoC", "NoF" (objects that count as N, success at click N among them) and "IoU" (area under the curve of IoU
        over clicks, in percent), each with "base", "sampled" (mean over groups), "std" (over groups, of each object,
        then the mean), and what they change by: "dSB" from ideal to sampled clicks, "dGR" from the most likely to the
        least likely group, "dHH" from the likelier to the unlikelier half. Of NoC these are means of each object's
        change in percent, of NoF and IoU differences. "IoU" has "NSR", too: each object's deviation over its mean, in
        percent.

    Raises:
        ValueError: runs have different numbers of objects, or there is no object or an odd number of groups.
    """
    if not len(base) or len(groups) % 2 or not groups or any(len(group) != len(base) for group in groups):
        raise ValueError(
            f"{len(base)} objects and groups of {[len(group) for group in groups]}: each run needs the same objects, "
            "and the number of groups must be even"
        )
    needed = np.array([clicks_needed(group, threshold, limit) for group in groups], np.float64)
    base_needed = clicks_needed([np.asarray(curve)[:limit] for curve in base], threshold, limit).astype(np.float64)
    needed = np.minimum(needed, limit)
    failed = (needed == limit).sum(1).astype(np.float64)
    base_failed = float((base_needed == limit).sum())
    areas, base_area = np.array([_areas(group, limit) for group in groups]), _areas(base, limit)
    noc = _differences(needed, base_needed, is_relative=True)
    nof = _differences(failed[:, None], np.array([base_failed]), is_relative=False)
    iou = _differences(areas, base_area, is_relative=False)
    iou["NSR"] = float(100 * (areas.std(0) / np.maximum(areas.mean(0), SMALL)).mean())
    return {"NoC": noc, "NoF": nof, "IoU": iou}


def _areas(curves: Sequence[np.ndarray], limit: int) -> np.ndarray:
    """Mean IoU under each curve over `limit` clicks by the trapezoidal rule, in percent: float64 [objects]."""
    rows = np.empty((len(curves), limit))
    for row, curve in zip(rows, curves):
        values = np.asarray(curve, np.float64)
        row[:] = values[np.minimum(np.arange(limit), len(values) - 1)]
    ends = (rows[:, 0] + rows[:, -1]) / 2
    return 100 * (rows.sum(1) - ends) / max(limit - 1, 1)


def _differences(groups: np.ndarray, base: np.ndarray, *, is_relative: bool) -> dict[str, float]:
    """Means and changes of a score of each object, groups [g,objects] and base [objects]."""
    half = len(groups) // 2
    unlikely, likely, mean = groups[:half], groups[half:], groups.mean(0)

    def change(new: np.ndarray, old: np.ndarray) -> float:
        return float((100 * (new - old) / old if is_relative else new - old).mean())

    return {
        "base": float(base.mean()),
        "sampled": float(groups.mean()),
        "std": float(groups.std(0).mean()),
        "dSB": change(mean, base),
        "dGR": change(groups[0], groups[-1]),
        "dHH": change(unlikely, likely),
    }
