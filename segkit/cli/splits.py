"""Writes the parts of a data set as lists: segkit prepare splits CONFIG_OR_FOLDER --out DIR.

Folder(split=...) and the data set Listed read them. Without a config a folder of images is split, by --by where images
belong together.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from segkit.cli import common
from segkit.files import DataError, read_text, write_whole
from segkit.registry import ConfigError

if TYPE_CHECKING:
    from segkit.data.dataset import Dataset
    from segkit.data.splits.assignment import Assignment


def main(argv: list[str] | None = None) -> int:
    """Runs `segkit prepare splits`; returns the exit code."""
    arguments = common.parser("prepare splits", __doc__ or "")
    arguments.add_argument("source", metavar="CONFIG_OR_FOLDER", help="a config, or a folder of images")
    arguments.add_argument("--section", default="train", choices=("train", "val", "test"), help="of the config")
    arguments.add_argument(
        "--ratios", nargs="+", type=float, default=[0.8, 0.1, 0.1], metavar="R", help="of train, val and, if 3, test"
    )
    arguments.add_argument("--folds", type=int, metavar="K", help="K pairs of lists in place of --ratios")
    arguments.add_argument(
        "--by", metavar="RULE", help="folder, folder:2, TABLE.csv:COLUMN, time:SECONDS, or a regular expression on ids"
    )
    arguments.add_argument(
        "--stratify",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="rare classes occur in every part where they can, which reads all masks; default: with a config",
    )
    arguments.add_argument("--seed", type=int, default=0, help="another seed is another split")
    arguments.add_argument("--out", required=True, metavar="DIR", help="folder of the lists, such as DATA/splits")
    arguments.add_argument("--overwrite", action="store_true", help="replace lists that differ")
    common.add_options(arguments)
    return common.run(_splits, arguments.parse_args(argv))


def _splits(args: argparse.Namespace) -> int:
    from segkit.data.splits.assignment import assign
    from segkit.data.splits.dealing import check_shares
    from segkit.data.splits.split import PARTS

    if args.seed < 0:
        raise ConfigError(f"--seed {args.seed}: must be 0 or more")
    dataset, has_classes = _source(args)
    if args.stratify and not has_classes:
        raise ConfigError(f"--stratify: {args.source} is a folder, whose classes no config names; give a config")
    stratify = has_classes if args.stratify is None else args.stratify
    if args.folds is None:
        names: tuple[str, ...] = PARTS[:2] if len(args.ratios) == 2 else PARTS
        check_shares(args.ratios, names, "--ratios")
        shares = args.ratios
    else:
        if not 2 <= args.folds <= len(dataset):
            raise ConfigError(f"--folds {args.folds}: must lie between 2 and {len(dataset)}, the number of images")
        names, shares = tuple(f"fold {number}" for number in range(args.folds)), [1 / args.folds] * args.folds
    found = assign(dataset, shares, names, by=args.by, stratify=stratify, seed=args.seed, at="--ratios")
    lists = _lists(dataset, found, is_folds=args.folds is not None)
    for note in (*dataset.notes, *found.notes):
        print(f"note: {note}")
    _write(args, lists, found)
    return 0


def _source(args: argparse.Namespace) -> tuple["Dataset", bool]:
    """The data set to split, and whether its classes are known."""
    from segkit.data.semantic.folder import Folder
    from segkit.engine.setup import build_dataset

    if common.is_config(args.source):
        from segkit.config import load_config
        from segkit.schema import check

        cfg = load_config(args.source, args.cfg_options)
        check(cfg, needed=())
        section, at = common.data_section(cfg, args.section)
        return build_dataset(section["dataset"], f"{at}.dataset"), True
    if args.cfg_options:
        raise ConfigError(f"--cfg-options: {args.source} is a folder; give a config")
    root = Path(args.source).expanduser()
    if not root.is_dir():
        raise DataError(f"{root}: no such folder, and no config (.py, .yaml); give one of them")
    images = "images" if (root / "images").is_dir() else "."
    return Folder(str(root), ["image"], images=images, masks=None), False


def _lists(dataset: "Dataset", found: "Assignment", *, is_folds: bool) -> dict[str, list[str]]:
    """The lines of each list, by the name of its file."""
    ids = [str(name) for name in dataset.ids]
    if not is_folds:
        return {f"{name}.txt": [ids[i] for i in found.items(k)] for k, name in enumerate(found.names)}
    lists: dict[str, list[str]] = {}
    for k in range(len(found.names)):
        lists[f"fold{k}_train.txt"] = [name for name, part in zip(ids, found.parts) if part != k]
        lists[f"fold{k}_val.txt"] = [ids[i] for i in found.items(k)]
    return lists


def _write(args: argparse.Namespace, lists: dict[str, list[str]], found: "Assignment") -> None:
    from segkit.data.files.name_list import list_text

    folder = Path(args.out).expanduser()
    by = "" if args.by is None else f" --by {args.by}"
    what = f"--ratios {' '.join(f'{r:g}' for r in args.ratios)}" if args.folds is None else f"--folds {args.folds}"
    contents = {}
    for file, names in lists.items():
        head = (
            f"# {file.removesuffix('.txt')}: {len(names)} images; segkit prepare splits {what}{by} --seed {args.seed}\n"
        )
        contents[folder / file] = head + list_text(names)
    differing = [path for path, text in contents.items() if path.is_file() and read_text(path) != text]
    if differing and not args.overwrite:
        raise ConfigError(f"{differing[0]}: holds another split; choose another --out, or replace it by --overwrite")
    for path, text in contents.items():
        write_whole(path, text, "choose another --out")
        count = len(lists[path.name])
        print(f"{path}: {count:,} images, {100 * count / len(found.parts):.1f} %")
    if args.by is not None:
        print(f"{found.num_groups} groups by '{args.by}', each in one part")
    first = next(iter(contents))
    print(f"use: Folder(split='{first}'), or dict(type='Listed', dataset=..., file='{first}') for any data set")
