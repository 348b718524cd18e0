"""Comparison of interactive runs: `segkit analyze clicks`."""

import argparse
from pathlib import Path
from typing import Any

from segkit.files import DataError, need_writable, parse_json, read_text
from segkit.registry import ConfigError
from segkit.runners.interactive.tables import curve_table, is_scored, item_table, needed_by_item, needed_title


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Adds the arguments of `analyze clicks`."""
    arguments.add_argument("files", nargs="+", help="metrics.json of interactive runs, as `segkit test` writes them")
    arguments.add_argument("--out", default="clicks.png", help="PNG file of the curves")
    arguments.add_argument("--threshold", type=float, help="IoU whose clicks are compared; default the highest scored")
    arguments.add_argument("--limit", type=int, help="clicks at most; default the first limit of the first file")
    arguments.add_argument("--worst", type=int, default=10, help="objects listed on which the runs differ most")


def compare(args: argparse.Namespace) -> int:
    """Compares runs: mIoU@k in one plot and one table, and the clicks that each object needed in each run.

    Args:
        args: those of add_arguments.

    Returns:
        The exit code.

    Raises:
        ConfigError: a file holds no scores of clicks, or threshold or limit is out of range.
    """
    from segkit.viz.plots import click_curves

    need_writable(args.out, "choose another --out")
    runs = _read(args.files)
    first = next(iter(runs.values()))
    limit = args.limit or int(next(iter(first["limits"])))
    threshold = args.threshold or max(float(name) for name in first["limits"][next(iter(first["limits"]))]["NoC"]) / 100
    if not 0 < threshold <= 1 or limit < 1:
        raise ConfigError(
            f"--threshold {threshold} --limit {limit}: the threshold is an IoU in 0..1, the limit a number of clicks"
        )
    print(curve_table(runs) + "\n")
    needed = {name: needed_by_item(run, threshold, limit) for name, run in runs.items()}
    print(item_table(needed, needed_title(threshold, limit), worst=args.worst))
    print(click_curves({name: run["mIoU@k"]["held"] for name, run in runs.items()}, Path(args.out)))
    return 0


def _read(files: list[str]) -> dict[str, dict[str, Any]]:
    """Returns the scores of each run by its name. A file of several test sets is several runs."""
    runs: dict[str, dict[str, Any]] = {}
    for file in files:
        try:
            content = parse_json(read_text(file), file)
        except DataError as error:
            raise ConfigError(f"{file}: not a JSON file of scores ({error})") from error
        sets = {"": content} if is_scored(content) else content
        sets = {name: scores for name, scores in sets.items() if isinstance(scores, dict) and is_scored(scores)}
        if not sets:
            raise ConfigError(f"{file}: holds no clicks; give what `segkit test` writes for an interactive config")
        for name, scores in sets.items():
            runs[" ".join(word for word in (_short(file, files), name) if word)] = scores
    return runs


def _short(file: str, files: list[str]) -> str:
    """The shortest end of the path that tells the file from the others; a file name that all share is left out."""
    paths = [Path(other).with_suffix("").parts for other in files]
    path = Path(file).with_suffix("").parts
    if len(files) > 1 and len({parts[-1] for parts in paths}) == 1 and all(len(parts) > 1 for parts in paths):
        paths, path = [parts[:-1] for parts in paths], path[:-1]
    size = next((n for n in range(1, len(path)) if sum(parts[-n:] == path[-n:] for parts in paths) == 1), len(path))
    return "/".join(path[-size:])
