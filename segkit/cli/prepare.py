"""Converts data sets: segkit prepare coco_lvis|openimages|ade20k|sbd|voc_instances|segfix; splits them: ... splits.

The first four are for training with clicks, voc_instances for training with boxes. segfix makes the targets of SegFix
from the label maps of a config's data sets: segkit prepare segfix --config CONFIG. An interrupted run continues where
it stopped. `segkit prepare splits CONFIG_OR_FOLDER` writes lists of train, val and test, `segkit prepare scribbles`
label maps of few labelled pixels, `segkit prepare points` labelled points of objects; each has a --help of its own.
"""

import argparse
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from segkit.cli import common, few_labels, splits
from segkit.registry import ConfigError

SPLITS: dict[str, tuple[str, ...]] = {
    "coco_lvis": ("train", "val"),
    "openimages": ("train", "val", "test"),
    "ade20k": ("train", "val"),
    "sbd": ("train", "val"),
    "voc_instances": ("train", "val"),
    "segfix": ("train", "val", "test"),
}
"""Splits of each data set; of segfix, sections of the config."""

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "splits": splits.main,
    "scribbles": few_labels.scribbles,
    "points": few_labels.points,
}
"""What has a --help of its own."""

FOLDERS = {
    "openimages": "OpenImages",
    "ade20k": "ADE20K_2016_07_26",
    "sbd": "benchmark_RELEASE/dataset",
    "voc_instances": "VOCdevkit/VOC2012",
}
"""Folders of the data sets under the data root."""


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit prepare`; returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in COMMANDS:
        return COMMANDS[argv[0]](argv[1:])
    arguments = common.parser("prepare", __doc__ or "")
    arguments.add_argument("dataset", choices=[*SPLITS, *COMMANDS])
    arguments.add_argument("--root", help="the data set's folder (not for coco_lvis); $SEGKIT_DATA/<its name>")
    arguments.add_argument("--coco", help="coco_lvis: the folder with annotations/panoptic_train2017.json and its PNGs")
    arguments.add_argument("--lvis", help="coco_lvis: the folder with train/lvis_train.json")
    arguments.add_argument("--out", help="coco_lvis: the folder of the result; $SEGKIT_DATA/COCO_LVIS")
    arguments.add_argument("--sbd", help="voc_instances: SBD's folder benchmark_RELEASE/dataset; without it VOC's own")
    arguments.add_argument("--config", help="segfix: a config whose data sets are SegFixTargets")
    arguments.add_argument("--split", nargs="+", help="train and val by default; sbd: val; segfix: all sections")
    arguments.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; all cores by default")
    arguments.add_argument(
        "--overlap",
        type=float,
        default=0.70,
        help="coco_lvis: IoU above which an LVIS mask replaces COCO's; .70 in the published code, .80 in its paper",
    )
    common.add_options(arguments)
    return common.run(_prepare, arguments.parse_args(argv))


def _prepare(args: argparse.Namespace) -> int:
    if args.dataset == "segfix":
        return _prepare_segfix(args)
    if args.config or args.cfg_options:
        raise ConfigError(f"--config: {args.dataset} has its own layout and reads no config; name its folder by --root")
    for split in args.split or (["val"] if args.dataset == "sbd" else ["train", "val"]):
        if split not in SPLITS[args.dataset]:
            raise ConfigError(f"--split {split}: {args.dataset} has the splits {', '.join(SPLITS[args.dataset])}")
        print(f"written: {_prepare_split(args, split)}")
    return 0


def _prepare_split(args: argparse.Namespace, split: str) -> Path:
    from segkit.data.dataset import resolve_root
    from segkit.data.prepare import lists
    from segkit.data.prepare.coco_lvis import prepare
    from segkit.data.prepare.voc_instances import prepare_voc_instances

    if args.dataset == "coco_lvis":
        coco, lvis = resolve_root(args.coco, "coco"), resolve_root(args.lvis, "lvis")
        out = resolve_root(args.out, "COCO_LVIS")
        return prepare(coco, lvis, out, split=split, overlap=args.overlap, processes=args.jobs)
    root = resolve_root(args.root, FOLDERS[args.dataset])
    writers: dict[str, Callable[..., Path]] = {
        "openimages": lists.prepare_open_images,
        "ade20k": lists.prepare_ade20k,
        "sbd": lists.prepare_sbd,
        "voc_instances": partial(prepare_voc_instances, sbd=None if args.sbd is None else Path(args.sbd).expanduser()),
    }
    return writers[args.dataset](root, split=split, processes=args.jobs)


def _prepare_segfix(args: argparse.Namespace) -> int:
    from segkit.data.prepare.segfix import prepare_segfix
    from segkit.data.semantic.segfix import targets_folder
    from segkit.registry import DATASETS, build

    if not args.config:
        raise ConfigError("segfix: give --config, a config whose data sets are SegFixTargets (configs/segfix)")
    cfg = common.load_checked(args.config, args.cfg_options)
    rows: dict[str, dict] = {}
    for split in args.split or SPLITS["segfix"]:
        if split not in SPLITS["segfix"]:
            raise ConfigError(f"--split {split}: segfix reads the sections {', '.join(SPLITS['segfix'])}")
        rows |= _rows_of(cfg.get(split), "SegFixTargets", split)
    if not rows:
        raise ConfigError(f"{args.config}: has no data set of type SegFixTargets; see configs/segfix")
    made: list[dict] = []
    for at, row in rows.items():
        if row in made:
            continue
        made.append(row)
        dataset = build(row["dataset"], DATASETS, f"{at}.dataset")
        folder = targets_folder(dataset, row.get("targets"))
        written, kept = prepare_segfix(dataset, folder, processes=args.jobs)
        print(f"{at}: {written} files written, {kept} kept: {folder}")
    return 0


def _rows_of(value: object, name: str, at: str) -> dict[str, dict]:
    """The objects of a type in a section, by their config path."""
    if isinstance(value, dict) and value.get("type") == name:
        return {at: value}
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {path: row for key, item in inner for path, row in _rows_of(item, name, f"{at}.{key}").items()}
