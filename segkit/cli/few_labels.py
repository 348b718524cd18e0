"""Labels that cost less than masks: segkit prepare scribbles and segkit prepare points, each with a --help."""

import argparse
import os
from pathlib import Path
from typing import Any

from segkit.cli import common
from segkit.registry import ConfigError

SCRIBBLES = """Label maps of a few labelled pixels: segkit prepare scribbles --config CONFIG --out FOLDER.

With --xml they are drawn from XML files of polylines (ScribbleSup), else made of the full label maps of the config's
data set by a rule: scribbles, points or blocks. FOLDER/ID.png is read by the data set PartialLabels. Files that are
there stay.
"""

POINTS = """Labelled points in place of outlines: segkit prepare points ANNOTATIONS.json --out POINTS.json.

As the published tool of PointSup: each object of a COCO file gets 10 points in its box, each with the label 1 on the
object and 0 beside it. COCOInstances(annotations=POINTS.json, points=True) reads them.
"""


def scribbles(argv: list[str]) -> int:
    """Runs `segkit prepare scribbles`; returns the exit code."""
    arguments = common.parser("prepare scribbles", SCRIBBLES)
    arguments.add_argument("--config", required=True, help="a config; the images are those of section train")
    arguments.add_argument("--section", default="train", choices=("train", "val", "test"), help="of the config")
    arguments.add_argument("--out", help="folder of the label maps; default: where the config's PartialLabels reads")
    arguments.add_argument("--xml", metavar="DIR", help="draw the polylines of DIR/ID.xml")
    arguments.add_argument(
        "--kind", choices=("scribbles", "points", "blocks"), help="what is made; default: the config's, else scribbles"
    )
    arguments.add_argument("--count", type=int, default=5, help="scribbles or points of each class and image")
    arguments.add_argument("--share", type=float, default=0.1, help="of the image's area that blocks cover")
    arguments.add_argument("--seed", type=int, default=0, help="another seed is another choice")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; all cores by default")
    common.add_options(arguments)
    return common.run(_scribbles, arguments.parse_args(argv))


def _scribbles(args: argparse.Namespace) -> int:
    from segkit.data.prepare.scribbles import Rule, prepare_few_labels, prepare_scribbles
    from segkit.data.semantic.partial_labels import KINDS, labels_folder
    from segkit.registry import DATASETS, build

    if args.count < 1 or not 0 < args.share <= 1 or args.seed < 0:
        raise ConfigError(
            f"--count {args.count}, --share {args.share}, --seed {args.seed}: count must be 1 or more, share above 0 "
            "to 1, seed 0 or more"
        )
    cfg = common.load_checked(args.config, args.cfg_options)
    row: dict[str, Any] = (cfg.get(args.section) or {}).get("dataset") or {}
    at, masks, kind = f"{args.section}.dataset", args.out, args.kind
    if row.get("type") == "PartialLabels":
        at, masks, kind = f"{at}.dataset", masks or row.get("masks"), kind or row.get("kind")
        row = row["dataset"]
    if not row:
        raise ConfigError(f"{args.config}: section {args.section} has no dataset")
    dataset, kind = build(row, DATASETS, at), kind or KINDS[0]
    folder = labels_folder(dataset, masks, kind)
    if args.xml:
        written, kept = prepare_scribbles(dataset, Path(args.xml).expanduser(), folder, processes=args.jobs)
    else:
        rule = Rule(kind, args.count, args.share, args.seed)
        written, kept = prepare_few_labels(dataset, folder, rule, processes=args.jobs)
    print(f"{at}: {written} files written, {kept} kept: {folder}")
    return 0


def points(argv: list[str]) -> int:
    """Runs `segkit prepare points`; returns the exit code."""
    from segkit.data.prepare.points import SEED

    arguments = common.parser("prepare points", POINTS)
    arguments.add_argument("annotations", metavar="ANNOTATIONS.json", help="a COCO file with outlines")
    arguments.add_argument("--out", required=True, metavar="POINTS.json", help="the file to write")
    arguments.add_argument("--count", type=int, default=10, help="points of each object, 10 as published")
    arguments.add_argument("--seed", type=int, default=SEED, help=f"of the random numbers, {SEED} as published")
    return common.run(_points, arguments.parse_args(argv))


def _points(args: argparse.Namespace) -> int:
    from segkit.data.prepare.points import prepare_points

    if args.count < 1 or not 0 <= args.seed < 2**32:
        raise ConfigError(
            f"--count {args.count}, --seed {args.seed}: count must be 1 or more, seed from 0 to 4294967295"
        )
    number = prepare_points(Path(args.annotations), Path(args.out), count=args.count, seed=args.seed)
    print(f"{number} objects with {args.count} points each: {args.out}")
    return 0
