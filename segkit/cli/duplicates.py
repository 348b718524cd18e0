"""Finds near duplicates across the splits of a config: segkit analyze duplicates CONFIG."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.files import DataError, write_whole
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.data.dataset import Dataset
    from segkit.data.splits.near_duplicates import Pair

MOST_PRINTED, MOST_DRAWN = 20, 8
"""Pairs that the table names, and pairs in the picture."""


@dataclass(frozen=True)
class Found:
    """Near duplicates of two sections.

    Attributes:
        sections: their config paths.
        images: images of each.
        pairs: the most alike first.
        shared: files that stand in both sections.
    """

    sections: tuple[str, str]
    images: tuple[int, int]
    pairs: list["Pair"]
    shared: list[str]


def add_arguments(arguments: argparse.ArgumentParser) -> None:
    """Adds the arguments of `segkit analyze duplicates`."""
    arguments.add_argument("config", help="a .py or .yaml config file; only its data sections are needed")
    arguments.add_argument(
        "--distance", type=int, default=10, help="bits of 64 in which the hashes of a pair may differ, 0 to 15"
    )
    arguments.add_argument("--workers", type=int, default=0, help="threads that read images; 0 reads in one")
    arguments.add_argument("--out", help="folder of the picture and the JSON; default work_dirs/<config name>")
    common.add_options(arguments)


def find(args: argparse.Namespace) -> int:
    """Prints the pairs, and writes all of them and a picture; returns the exit code."""
    from segkit.config import load_config
    from segkit.data.splits.image_hash import LookBook
    from segkit.data.splits.near_duplicates import MOST_DISTANCE, near_pairs
    from segkit.engine.preflight import scored_sections
    from segkit.engine.setup import DataSets
    from segkit.runners.training import run_folder
    from segkit.schema import check, need_sections

    if not 0 <= args.distance <= MOST_DISTANCE:
        raise ConfigError(f"--distance {args.distance}: must lie between 0 and {MOST_DISTANCE}")
    if args.workers < 0:
        raise ConfigError(f"--workers {args.workers}: must be 0 or more threads")
    cfg = load_config(args.config, args.cfg_options)
    check(cfg, needed=())
    need_sections(cfg, ("train",))
    sections = {"train": cfg["train"], **scored_sections(cfg)}
    if len(sections) < 2:
        raise ConfigError(
            f"{args.config}: has section `train` alone; duplicates are looked for across train, val, test"
        )
    folder, book, datasets = run_folder(args.out, args.config), LookBook(), DataSets()
    sets = {at: datasets.get(section["dataset"], f"{at}.dataset") for at, section in sections.items()}
    looks = {at: book.looks(dataset, workers=args.workers) for at, dataset in sets.items()}
    if not any(looks.values()):
        raise DataError(f"{args.config}: no image of these data sets is a file of its own, so none can be compared")
    names = list(looks)
    results = [
        Found(
            (one, other),
            (len(looks[one]), len(looks[other])),
            near_pairs(looks[one], looks[other], args.distance),
            sorted(looks[one].keys() & looks[other].keys()),
        )
        for number, one in enumerate(names)
        for other in names[number + 1 :]
    ]
    print("\n".join(line for found in results for line in lines(found)))
    content = [
        dict(
            sections=found.sections,
            images=found.images,
            pairs=[pair._asdict() for pair in found.pairs],
            shared=found.shared,
        )
        for found in results
    ]
    numbers = folder / "duplicates.json"
    write_whole(numbers, json.dumps(dict(distance=args.distance, results=content), indent=1) + "\n")
    if picture := _draw(results, sets, folder / "duplicates.png"):
        print(picture)
    print(numbers)
    return 0


def lines(found: Found) -> list[str]:
    """Returns a summary of two sections and a line for each of the most alike pairs."""
    first, second = found.sections
    alike = len({pair.second for pair in found.pairs})
    equal = len({pair.second for pair in found.pairs if pair.is_equal})
    rows = [
        f"{first} and {second}: {alike:,} of {found.images[1]:,} images of {second} look like one of the "
        f"{found.images[0]:,} of {first}, {equal:,} of them equal byte by byte"
    ]
    if found.shared:
        rows.append(f"  files in both sections: {len(found.shared):,}, such as {found.shared[0]}")
    for pair in found.pairs[:MOST_PRINTED]:
        how = "equal" if pair.is_equal else f"{pair.distance:>2} bits"
        rows.append(f"  {how:>7}  {pair.agreement:.3f}  {pair.first}  {pair.second}")
    if len(found.pairs) > MOST_PRINTED:
        rows.append(f"  ... and {len(found.pairs) - MOST_PRINTED:,} more pairs")
    return rows


def _draw(results: list[Found], sets: dict[str, "Dataset"], path: Path) -> Path | None:
    """Draws the most alike pairs side by side; None where there are none."""
    from segkit.viz import draw

    rows, captions = [], []
    chosen = sorted(
        ((pair, found.sections) for found in results for pair in found.pairs),
        key=lambda item: (item[0].distance, -item[0].agreement),
    )
    index_of = {at: {data.path(i): i for i in range(len(data))} for at, data in sets.items()} if chosen else {}
    for pair, (first, second) in chosen[:MOST_DRAWN]:
        rows.append([sets[first].image(index_of[first][pair.first]), sets[second].image(index_of[second][pair.second])])
        names = f"{first}: {Path(pair.first).name} | {second}: {Path(pair.second).name}"
        captions.append(f"{names}, {'equal' if pair.is_equal else f'{pair.distance} bits differ'}")
    return draw.save_png(path, draw.grid(rows, captions=captions)) if rows else None
