"""Scores of interactive segmentation as text and curves: the published table, and runs side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from segkit.metrics import noc_table
from segkit.metrics.noc import clicks_needed, curve_of, threshold_name


def is_scored(scores: Mapping[str, Any]) -> bool:
    """Returns whether an evaluation's scores are of clicks."""
    return "mIoU@k" in scores


def click_report(results: Mapping[str, Mapping[str, Any]], picture: Path, *, method: str, title: str) -> str:
    """Formats what NoC found as text, and draws the curves of all sets in one picture.

    Args:
        results: scores of each test set by its name; sets without clicks are left out.
        picture: PNG file of the curves.
        method: how masks are refined, the first column of the published table.
        title: the model's name, above the table.
    """
    from segkit.viz.plots import click_curves

    sets = {name: dict(scores) for name, scores in results.items() if is_scored(scores)}
    lines = [f"{name}: {noc_table.summary(scores)}\n" for name, scores in sets.items()]
    lines += [f"{name}: {text}" for name, scores in sets.items() for text in noc_table.warnings(scores)]
    for limit in dict.fromkeys(int(limit) for scores in sets.values() for limit in scores["limits"]):
        with_limit = {name: scores for name, scores in sets.items() if str(limit) in scores["limits"]}
        lines.append(noc_table.published_table(with_limit, method, limit=limit, model=title))
    if any(scores["items"] for scores in sets.values()):
        curves = {name: scores["mIoU@k"]["held"] for name, scores in sets.items()}
        lines.append(f"curve: {click_curves(curves, picture)}")
    return "\n".join(lines)


def curve_table(runs: Mapping[str, Mapping[str, Any]], clicks: Sequence[int] = (1, 2, 3, 5, 10, 20, 50, 100)) -> str:
    """Formats mIoU@k of each run in percent, and the largest fall from one click to the next.

    Args:
        runs: scores of each run by its name.
        clicks: the k that get a column, as far as some run has them.
    """
    longest = max(len(run["mIoU@k"]["held"]) for run in runs.values())
    shown = [k for k in clicks if k <= longest]
    width = max(len("mIoU@k"), *map(len, runs))
    lines = [f"{'mIoU@k':{width}}" + "".join(f"{k:>8}" for k in shown) + f"{'fall':>8}"]
    for name, run in runs.items():
        curve = np.array([np.nan if value is None else value for value in run["mIoU@k"]["held"]])
        cells = "".join(f"{curve[k - 1]:>8.2f}" if k <= len(curve) else f"{'-':>8}" for k in shown)
        falls = (curve[:-1] - curve[1:])[~np.isnan(curve[:-1] - curve[1:])]
        lines.append(f"{name:{width}}{cells}{falls.max(initial=0):>8.2f}")
    return "\n".join(lines)


def needed_by_item(run: Mapping[str, Any], threshold: float, limit: int) -> dict[str, int]:
    """Returns the clicks that each object needs, by its id.

    Args:
        run: scores of a run.
        threshold: IoU in 0..1 that is to be reached.
        limit: clicks at most.
    """
    curves = [curve_of(item)[:limit] for item in run["items"]]
    return {item["id"]: int(n) for item, n in zip(run["items"], clicks_needed(curves, threshold, limit))}


def item_table(needed: Mapping[str, Mapping[str, int]], title: str, *, worst: int) -> str:
    """Compares the clicks of the objects that all runs have.

    Args:
        needed: clicks of each object of each run.
        title: of the table.
        worst: objects that are listed, those on which the runs differ most.

    Returns:
        Each run's mean, and on how many objects it needs fewer and more clicks than the first run; then the list.
    """
    names = list(needed)
    shared = [item for item in needed[names[0]] if all(item in clicks for clicks in needed.values())]
    if not shared:
        return f"{title}: the runs share no object"
    width = max(len(title), *map(len, names))
    lines = [f"{len(shared)} objects in all runs", f"{title:{width}}    mean   fewer    more"]
    for name in names:
        change = [needed[name][item] - needed[names[0]][item] for item in shared]
        mean = sum(needed[name][item] for item in shared) / len(shared)
        lines.append(f"{name:{width}}{mean:>8.2f}{sum(c < 0 for c in change):>8}{sum(c > 0 for c in change):>8}")
    spread = {item: [clicks[item] for clicks in needed.values()] for item in shared}
    different = sorted(shared, key=lambda item: min(spread[item]) - max(spread[item]))[: max(worst, 0)]
    different = [item for item in different if len(set(spread[item])) > 1]
    if different:
        lines += ["", f"clicks, in the order of the runs ({len(different)} objects that differ most)"]
        lines += [f"{''.join(f'{clicks:>5}' for clicks in spread[item])}  {item}" for item in different]
    return "\n".join(lines)


def needed_title(threshold: float, limit: int) -> str:
    """Returns the name of the score, such as "NoC20@90"."""
    return f"NoC{limit}@{threshold_name(threshold)}"
