"""What commands print and draw of interactive segmentation: the published table, curves, runs beside each other."""

import argparse
import json
from pathlib import Path

import numpy as np

from segkit.metrics import noc_table
from segkit.metrics.noc import clicks_needed, curve_of, threshold_name
from segkit.registry import ConfigError


def is_scored(scores: dict) -> bool:
    """Whether an evaluation's scores are of clicks."""
    return "mIoU@k" in scores


def report(scores: dict[str, dict], picture: Path, *, method: str, model: str) -> None:
    """scores: name of each test set -> its scores; prints what NoC found, draws the curves of all sets in one picture.
    method: how masks are refined, the table's first column; model: its name, above the table."""
    from segkit.viz.plots import click_curves

    sets = {name: result for name, result in scores.items() if is_scored(result)}
    for name, result in sets.items():
        print(f"{name}: {noc_table.summary(result)}\n")
    for limit in dict.fromkeys(int(limit) for result in sets.values() for limit in result["limits"]):
        shown = {name: result for name, result in sets.items() if str(limit) in result["limits"]}
        print(noc_table.published_table(shown, method, limit=limit, model=model))
    if any(result["items"] for result in sets.values()):
        curves = {name: result["mIoU@k"]["held"] for name, result in sets.items()}
        print(f"curve: {click_curves(curves, picture)}")


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Of `analyze clicks`."""
    arguments.add_argument("files", nargs="+", help="metrics.json of interactive runs, as tools/test.py writes them")
    arguments.add_argument("--out", default="clicks.png", help="PNG file of the curves")
    arguments.add_argument("--threshold", type=float, help="IoU whose clicks are compared; default the highest scored")
    arguments.add_argument("--limit", type=int, help="clicks at most; default the first limit of the first file")
    arguments.add_argument("--worst", type=int, default=10, help="objects listed on which the runs differ most")


def compare(args: argparse.Namespace) -> int:
    """Runs beside each other: mIoU@k in one plot and one table, and the clicks that each object needed in each run."""
    from segkit.viz.plots import click_curves

    runs = _read(args.files)
    first = next(iter(runs.values()))
    limit = args.limit or int(next(iter(first["limits"])))
    threshold = args.threshold or max(float(name) for name in first["limits"][next(iter(first["limits"]))]["NoC"]) / 100
    if not 0 < threshold <= 1 or limit < 1:
        raise ConfigError(f"--threshold {threshold} --limit {limit}: an IoU of 0 to 1, and a number of clicks")
    print("\n".join(curve_table(runs)) + "\n")
    needed = {name: needed_by_item(run, threshold, limit) for name, run in runs.items()}
    print("\n".join(item_table(needed, f"NoC{limit}@{threshold_name(threshold)}", worst=args.worst)))
    print(click_curves({name: run["mIoU@k"]["held"] for name, run in runs.items()}, Path(args.out)))
    return 0


def curve_table(runs: dict[str, dict], clicks: tuple[int, ...] = (1, 2, 3, 5, 10, 20, 50, 100)) -> list[str]:
    """-> lines: mIoU@k of each run in percent, and the largest fall from one click to the next."""
    longest = max(len(run["mIoU@k"]["held"]) for run in runs.values())
    shown = [k for k in clicks if k <= longest]
    width = max(len("mIoU@k"), *map(len, runs))
    lines = [f"{'mIoU@k':{width}}" + "".join(f"{k:>8}" for k in shown) + f"{'fall':>8}"]
    for name, run in runs.items():
        held = np.array([np.nan if value is None else value for value in run["mIoU@k"]["held"]])
        cells = "".join(f"{held[k - 1]:>8.2f}" if k <= len(held) else f"{'-':>8}" for k in shown)
        falls = (held[:-1] - held[1:])[~np.isnan(held[:-1] - held[1:])]
        lines.append(f"{name:{width}}{cells}{falls.max(initial=0):>8.2f}")
    return lines


def needed_by_item(run: dict, threshold: float, limit: int) -> dict[str, int]:
    """-> id of each object: clicks to the threshold, at most limit."""
    curves = [curve_of(item)[:limit] for item in run["items"]]
    return {item["id"]: int(n) for item, n in zip(run["items"], clicks_needed(curves, threshold, limit))}


def item_table(needed: dict[str, dict[str, int]], title: str, *, worst: int) -> list[str]:
    """needed: run -> object -> clicks -> lines: over the objects of all runs, each run's mean, on how many objects it
    needs fewer and more clicks than the first, and the objects on which the runs differ most."""
    names = list(needed)
    shared = [item for item in needed[names[0]] if all(item in one for one in needed.values())]
    if not shared:
        return [f"{title}: the runs share no object"]
    width = max(len(title), *map(len, names))
    lines = [f"{len(shared)} objects in all runs", f"{title:{width}}    mean   fewer    more"]
    for name in names:
        change = [needed[name][item] - needed[names[0]][item] for item in shared]
        mean = sum(needed[name][item] for item in shared) / len(shared)
        lines.append(f"{name:{width}}{mean:>8.2f}{sum(c < 0 for c in change):>8}{sum(c > 0 for c in change):>8}")
    spread = {item: [one[item] for one in needed.values()] for item in shared}
    different = sorted(shared, key=lambda item: min(spread[item]) - max(spread[item]))[: max(worst, 0)]
    different = [item for item in different if len(set(spread[item])) > 1]
    if different:
        lines += ["", f"clicks, in the order of the runs ({len(different)} objects that differ most)"]
        lines += [f"{''.join(f'{clicks:>5}' for clicks in spread[item])}  {item}" for item in different]
    return lines


def _read(files: list[str]) -> dict[str, dict]:
    """-> name of each run: its scores. A file of several test sets is several runs."""
    runs: dict[str, dict] = {}
    for file in files:
        try:
            content = json.loads(Path(file).read_text())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: not a JSON file of scores ({error})") from error
        sets = {"": content} if is_scored(content) else content
        sets = {name: one for name, one in sets.items() if isinstance(one, dict) and is_scored(one)}
        if not sets:
            raise ConfigError(f"{file}: holds no clicks; it is what tools/test.py writes for an interactive config")
        for name, scores in sets.items():
            runs[" ".join(part for part in (_short(file, files), name) if part)] = scores
    return runs


def _short(file: str, files: list[str]) -> str:
    """The shortest end of the path that tells the file from the others; what all are called is left out."""
    parts = [Path(other).with_suffix("").parts for other in files]
    own = Path(file).with_suffix("").parts
    if len(files) > 1 and len({part[-1] for part in parts}) == 1 and all(len(part) > 1 for part in parts):
        parts, own = [part[:-1] for part in parts], own[:-1]
    size = next((n for n in range(1, len(own)) if sum(part[-n:] == own[-n:] for part in parts) == 1), len(own))
    return "/".join(own[-size:])
